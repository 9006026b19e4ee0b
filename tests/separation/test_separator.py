"""Sessions as programs use them, on every backend."""

import numpy as np
import pytest

import sswavenet
from sswavenet.config import shipped
from sswavenet.separation import arrays, separator
from tests.support import TASK_NAMES, copy_golden_session, oracle
from util import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("sessions"), "multi-instrument")


@pytest.fixture(scope="module")
def session(folder):
    """One for several tests, since it compiles its network once."""
    return separator.load_session(folder)


def make_folder(tmp_path, task_name):
    """A session of 2018."""
    return copy_golden_session(tmp_path / task_name, task_name)


def expected_stems(session, mixture):
    """By the formulas of the network alone."""
    config = session.config
    padded = np.pad(mixture, config.context_length)
    margin, frames = config.head_margin, len(mixture)
    estimates = oracle(config, session.checkpoint.weights, padded, margin, frames)
    estimates = estimates[:, margin : margin + frames]
    return [*estimates, mixture - estimates.sum(axis=0)]


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_a_session_separates_what_its_network_hears(task_name, tmp_path, rng):
    session = separator.load_session(make_folder(tmp_path, task_name))
    mixture = rng.uniform(-0.5, 0.5, 50)
    stems = session.separate(mixture, session.sample_rate)
    assert tuple(stems) == session.stems
    for name, expected in zip(session.stems, expected_stems(session, mixture)):
        assert stems[name].dtype == np.float32
        np.testing.assert_allclose(stems[name], expected, rtol=0, atol=1e-5)
    column = session.separate(mixture[:, np.newaxis], session.sample_rate)
    for name, stem in stems.items():
        assert column[name].shape == (50, 1)
        np.testing.assert_array_equal(column[name][:, 0], stem)


def test_mixtures_of_any_length_follow_each_other(session, rng):
    mixture = rng.uniform(-0.5, 0.5, 300).astype("float32")
    whole = session.separate(mixture, session.sample_rate)
    edge = session.config.context_length
    for length in (1, 299, 258, 300):
        stems = session.separate(mixture[:length], session.sample_rate)
        assert {stem.shape for stem in stems.values()} == {(length,)}
        np.testing.assert_allclose(
            sum(stems.values()), mixture[:length], rtol=0, atol=1e-6
        )
        same = slice(0, max(0, length - edge))  # do not hear where it ends
        for name, stem in stems.items():
            np.testing.assert_allclose(stem[same], whole[name][same], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("rate", "shape"),
    [(44100, (800, 2)), (44100, (800,)), (8000, (150, 1)), (16000, (300, 3))],
)
def test_stems_have_the_mixtures_own_rate_and_channels(rate, shape, session, rng):
    mixture = rng.uniform(-0.5, 0.5, shape).astype("float32")
    stems = session.separate(mixture, rate)
    assert tuple(stems) == session.stems
    for stem in stems.values():
        assert (stem.shape, stem.dtype) == (shape, np.float32)
        assert np.abs(stem).max() > 1e-4
    np.testing.assert_allclose(sum(stems.values()), mixture, rtol=0, atol=1e-6)


def test_channels_that_hold_the_same_share_the_stems_of_one(session, rng):
    mixture = rng.uniform(-0.5, 0.5, 800).astype("float32")
    one = session.separate(mixture, 44100)
    both = session.separate(np.stack([mixture, mixture], axis=1), 44100)
    for name, stem in one.items():
        np.testing.assert_allclose(both[name][:, 0], stem, rtol=0, atol=1e-5)
        np.testing.assert_allclose(both[name][:, 1], stem, rtol=0, atol=1e-5)


def test_masks_share_out_one_channel_like_each_of_two(session, rng):
    mono = rng.uniform(-0.5, 0.5, 4000).astype("float32")
    both = session.separate(np.stack([mono, mono], axis=1), session.sample_rate)
    own = session.separate(mono, session.sample_rate)
    masked = session.separate(mono, session.sample_rate, masks=True)
    for name, stem in masked.items():
        np.testing.assert_allclose(stem, both[name][:, 0], rtol=0, atol=1e-6)
        assert np.abs(stem - own[name]).max() > 1e-3


def test_a_stream_gives_the_same_stems(session, rng):
    mixture = rng.uniform(-0.5, 0.5, 300)
    stream = session.stream()
    parts = [stream.push(mixture[:123]), stream.push(mixture[123:]), stream.finish()]
    stems = session.separate(mixture, session.sample_rate)
    np.testing.assert_allclose(
        np.concatenate(parts, axis=1),
        [stems[name] for name in session.stems],
        rtol=0,
        atol=1e-5,
    )


def test_similar_lengths_share_a_network(folder, monkeypatch):
    made = []

    def make(session, lengths):
        made.extend(lengths)
        return lambda mixture, rate, masks: dict.fromkeys(session.stems, mixture / 4)

    monkeypatch.setattr(separator.Session, "separator", make)
    session = separator.load_session(folder)
    for length in (1000, 1024, 900, 1025, 1, 1):
        session.separate(np.zeros(length), session.sample_rate)
    session.separate(np.zeros((2756, 2)), 44100)  # 1000 of its samples are heard
    assert made == [1024, 1280, 1]
    lengths = np.arange(5000)  # 0 where it is not known
    rounded = np.array([arrays.rounded_up(int(length)) for length in lengths])
    assert (rounded >= lengths).all()
    assert (rounded <= 1.25 * lengths).all()


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(10, np.int16), "floating-point samples"),
        (np.zeros(10, complex), "floating-point samples"),
        ("song.wav", "floating-point samples"),
        (0.5, "shape (frames,) or (frames, channels), got ()"),
        (np.zeros(0), "got (0,)"),
        (np.zeros((0, 2)), "got (0, 2)"),
        (np.zeros((5, 2, 2)), "got (5, 2, 2)"),
        (np.zeros((2, 1000)), "audio.T"),
        ([0.1, np.nan], "NaN or infinity"),
        ([1e300], "NaN or infinity"),
        ([[0.1], [0.2, 0.3]], "samples"),
    ],
)
def test_audio_that_cannot_be_used_is_refused(audio, message, session):
    with pytest.raises(UserError) as caught:
        session.separate(audio, 16000)
    assert message in str(caught.value)


@pytest.mark.parametrize("rate", [0, -16000, 16000.5, "16000", None, 10**9])
def test_rates_that_cannot_be_used_are_refused(rate, session):
    with pytest.raises(UserError, match="sample rate of 1 to"):
        session.separate([0.5], rate)


@pytest.mark.parametrize("shape", [(1000,), (1000, 2)])
def test_samples_that_are_no_sound_are_refused(shape, session):
    with pytest.raises(UserError, match=r"at most 1e\+10 .*, got one of 3e\+38"):
        session.separate(np.full(shape, 3e38), 16000, masks=True)


@pytest.mark.parametrize("shape", [(1000,), (1000, 2)])
def test_the_loudest_samples_are_separated_without_a_warning(shape, session):
    mixture = np.full(shape, -1e10, "float32")
    stems = session.separate(mixture, 16000, masks=True)
    np.testing.assert_allclose(sum(stems.values()), mixture, rtol=1e-5)


def test_output_that_is_not_finite_is_refused(folder, monkeypatch):
    def make(session, lengths):
        return lambda mixture, rate, masks: dict.fromkeys(
            session.stems, mixture * np.inf
        )

    monkeypatch.setattr(separator.Session, "separator", make)
    with pytest.raises(UserError, match="network's output"):
        separator.load_session(folder).separate([0.5], 16000)


def test_a_session_is_found_by_name_folder_or_file(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)  # where a folder has the name, too
    assert separator.load_session("multi-instrument").folder == (
        shipped.FOLDER / "multi-instrument"
    )
    for place in (folder, str(folder), folder / "config.json", "./multi-instrument"):
        assert separator.load_session(place).folder == folder


def test_a_session_beside_those_that_ship_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "sessions")
    mine, ship, bare = (tmp_path / "sessions" / name for name in ("me", "ship", "bare"))
    for path in (mine, ship, bare):
        make_folder(tmp_path / "sessions", "multi-instrument").rename(path)
    (ship / "MODEL_CARD.md").touch()
    for path in (bare / "checkpoints").iterdir():
        path.unlink()
    monkeypatch.chdir(tmp_path)
    for path in (mine, ship):
        assert separator.load_session(path.name).folder == path
    assert shipped.session_names() == ["ship"]
    for name in ("bare", "you"):
        with pytest.raises(UserError, match=rf"^expected me, ship, a .*got '{name}'"):
            separator.load_session(name)


def test_every_session_that_comes_with_the_program_loads():
    assert set(TASK_NAMES) <= set(shipped.session_names())
    for name in shipped.session_names():
        session = separator.load_session(name)
        assert name.startswith(session.config.task_name)


def test_what_is_loaded_may_be_chosen(tmp_path):
    folder = make_folder(tmp_path, "multi-instrument")
    (newest,) = (folder / "checkpoints").iterdir()
    other = newest.rename(folder / "other.hdf5")
    with pytest.raises(UserError, match="expected a checkpoint"):
        separator.load_session(folder)
    session = separator.load_session(folder, checkpoint=other, target=None)
    assert session.checkpoint.path == other
    turned = separator.load_session(
        folder, checkpoint=other, kernel_convention="tensorflow"
    )
    name = "initial_causal_conv/kernel"
    np.testing.assert_array_equal(
        turned.checkpoint.weights[name], session.checkpoint.weights[name][::-1]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # Beside what make train-demo has made.
        (("nothing",), "multi-instrument, multi-instrument-fast, "),
        (("multi-instrument", {"precision": "half"}), "float32, bfloat16, highest"),
        (("multi-instrument", {"target": "singing-voice"}), "--target"),
        (("multi-instrument", {"checkpoint": "none.hdf5"}), "none.hdf5"),
    ],
)
def test_a_session_that_cannot_be_loaded_is_refused(arguments, message):
    name, keywords = (*arguments, {})[:2]
    with pytest.raises(UserError) as caught:
        sswavenet.load_session(name, **keywords)
    assert message in str(caught.value)
