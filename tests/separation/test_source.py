"""From a file to files: stems at the mixture's rate and channels, and complements."""

import logging

import numpy as np
import pytest
import soundfile

import models
from sswavenet.separation import inputs
from sswavenet.separation.engine import Engine
from sswavenet.separation.folder import separate_all
from sswavenet.separation.options import Options
from sswavenet.separation.source import ModelSource, NativeSource, open_source
from sswavenet.sound.formats import Encoding
from tests.support import make_tone, random_weights, tiny_config
from util import UserError

RATE = 44100
FLOAT = Encoding(subtype="FLOAT")
CONFIG = tiny_config()
STEMS = CONFIG.task.stems


@pytest.fixture(scope="module")
def engine():
    weights = random_weights(CONFIG, np.random.default_rng(3))
    return Engine(
        CONFIG, lambda **shape: models.build_predict(CONFIG, weights, **shape)
    )


@pytest.fixture
def song(rng):
    """Two seconds of coloured noise in stereo, its channels alike in part."""
    middle, *sides = 0.1 * rng.normal(size=(3, 2 * RATE))
    return np.stack([np.cumsum(middle) / 9 + side for side in sides], axis=1)


@pytest.fixture
def run(tmp_path, engine):
    """A function that separates audio and returns report, stems and their rate."""

    def run(audio, rate=RATE, subtype="FLOAT", name="song", **settings):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, audio, rate, subtype)
        settings.setdefault("encoding", FLOAT)
        settings.setdefault("target_field_length", 4000)
        settings.setdefault("output_path", tmp_path / "out")
        summary = separate_all(
            inputs.find_mixtures(path).mixtures,
            engine,
            Options(overwrite=True, **settings),
            tmp_path,
        )
        (report,) = summary.files
        assert report.status == "separated", report.message
        stems = {}
        for stem, written in report.stems.items():
            stems[stem], found = soundfile.read(written.path, dtype="float32")
            assert found == report.sample_rate
            assert len(stems[stem]) == written.frames == report.frames
        length = len(audio) / rate
        assert summary.audio_seconds == pytest.approx(length, abs=1 / found)
        return report, stems, found

    return run


@pytest.mark.parametrize(
    ("subtype", "step"), [("PCM_16", 2**-15), ("PCM_24", 2**-23), ("FLOAT", 2**-22)]
)
def test_written_stems_sum_to_the_mixture_in_each_channel(run, song, subtype, step):
    song = np.float32(0.8 * song / np.abs(song).max())
    report, stems, rate = run(song, encoding=Encoding(subtype=subtype))
    assert rate == RATE
    assert report.warnings == []
    assert tuple(stems) == STEMS
    total = sum(stem.astype(np.float64) for stem in stems.values())
    assert np.abs(total - song).max() <= step
    assert all(np.abs(stem).max() > 0.001 for stem in stems.values())


@pytest.mark.parametrize(
    ("rate", "channels"), [(8000, 1), (11025, 3), (48000, 8), (96000, 2), (192000, 2)]
)
def test_any_rate_and_any_number_of_channels(run, rng, rate, channels):
    audio = np.float32(0.1 * rng.normal(size=(rate // 3, channels)))
    _, stems, found = run(audio, rate)
    assert found == rate
    total = sum(stems.values()).reshape(audio.shape)
    np.testing.assert_allclose(total, audio, atol=1e-6)


def test_field_and_batch_change_nothing(run, song):
    _, expected, _ = run(song)
    for field, batch in ((1500, 3), (9000, 1)):
        _, stems, _ = run(song, target_field_length=field, batch_size=batch)
        for name, stem in stems.items():
            np.testing.assert_allclose(stem, expected[name], rtol=0, atol=1e-5)


def test_a_mono_mixture_at_the_models_rate_gets_the_networks_own(run, song):
    mono = song[:, 0]
    _, native, _ = run(mono, CONFIG.sample_rate)
    _, model, _ = run(mono, CONFIG.sample_rate, stem_format="model")
    for name, stem in native.items():
        np.testing.assert_array_equal(stem, model[name])


def test_masks_share_out_a_mono_mixture_like_each_of_two_channels(run, song):
    mono = song[:, 0]
    _, own, _ = run(mono, CONFIG.sample_rate)
    _, masked, _ = run(mono, CONFIG.sample_rate, stem_format="masks")
    _, both, _ = run(np.stack([mono, mono], axis=1), CONFIG.sample_rate)
    for name, stem in masked.items():
        np.testing.assert_allclose(stem, both[name][:, 1], rtol=0, atol=1e-6)
        assert np.abs(stem - own[name]).max() > 1e-3
    np.testing.assert_allclose(sum(masked.values()), mono, rtol=0, atol=1e-6)


def test_the_networks_own_stems_are_mono_at_its_rate(run, song):
    _, stems, rate = run(song, stem_format="model")
    assert rate == CONFIG.sample_rate
    assert {stem.ndim for stem in stems.values()} == {1}


def test_the_original_framing_has_the_models_rate(tmp_path, song, engine):
    soundfile.write(tmp_path / "song.wav", song, RATE)
    summary = separate_all(
        inputs.find_mixtures(tmp_path / "song.wav").mixtures,
        engine,
        Options(output_path=tmp_path / "out", original_framing=True),
        tmp_path,
    )
    assert summary.files[0].sample_rate == CONFIG.sample_rate
    info = soundfile.info(tmp_path / "out" / "song_vocals.wav")
    assert (info.samplerate, info.channels) == (CONFIG.sample_rate, 1)


def test_channels_out_of_phase_are_heard_and_told(run, song, caplog):
    caplog.set_level(logging.WARNING)
    left = song[:, 0]
    _, right, _ = run(np.stack([left, left], axis=1))
    assert caplog.messages == []
    report, turned, _ = run(np.stack([left, -left], axis=1))
    assert "the channels cancel each other in " in report.warnings[0]
    assert report.warnings[0] in caplog.text
    for name, stem in turned.items():
        np.testing.assert_allclose(stem[:, 0], right[name][:, 0], rtol=0, atol=1e-4)
        np.testing.assert_allclose(stem[:, 1], -right[name][:, 0], rtol=0, atol=1e-4)


# Complements.


@pytest.mark.parametrize("form", ["native", "model"])
def test_a_stem_and_the_mixture_without_it_sum_to_the_mixture(run, song, form):
    rate = RATE if form == "native" else CONFIG.sample_rate
    audio = np.rint(song / np.abs(song).max() * 2**12) / 2**15  # of 16 bits
    if form == "model":
        audio = audio[:, 0]
    settings = {"stems": ("vocals", "bass"), "complements": True, "stem_format": form}
    _, stems, _ = run(audio, rate, "PCM_16", encoding=Encoding(), **settings)
    assert list(stems) == ["vocals", "bass", "no_vocals", "no_bass"]
    for stem in ("vocals", "bass"):
        total = stems[stem] + stems[f"no_{stem}"]
        np.testing.assert_array_equal(total, audio.astype(np.float32))


def test_a_complement_that_clips_is_told(run):
    audio = np.float32([[0.9, -0.9]] * 400)
    report, stems, _ = run(audio, complements=True, encoding=Encoding())
    told = {warning.split(" of ")[-1]: warning for warning in report.warnings}
    for name, written in report.stems.items():
        assert bool(written.clipped) == (f"{name} clipped" in told)
        assert np.abs(stems[name]).max() <= 1


def test_files_of_earlier_runs_are_not_taken_for_mixtures(run, song, tmp_path):
    """In the folder of the mixtures, with complements and then without."""
    short = song[:500]
    run(short, output_path=tmp_path, complements=True)
    again = inputs.find_mixtures(tmp_path).mixtures
    assert len(again) == 9
    for settings in ({"complements": True}, {}):
        summary = separate_all(
            again,
            Engine(CONFIG, lambda **_: lambda fragments: pytest.fail("separated")),
            Options(output_path=tmp_path, skip_existing=True, **settings),
            tmp_path,
        )
        assert [file.path for file in summary.files] == [str(tmp_path / "song.wav")]
        assert summary.num_skipped == 1


def test_an_unknown_complement_is_no_stem(run, song):
    with pytest.raises(UserError, match=r"--stems must be some of .*got no_vocals"):
        run(song[:100], stems=("no_vocals",))


@pytest.mark.parametrize("text", ["", ",", "vocals,", " , "])
def test_no_name_of_a_stem_is_told_which_there_are(text, infer, folder):
    make_tone(folder / "song.wav")
    status, (line,) = infer(folder, f"--stems={text}")
    assert status == 2
    assert line == (
        "error: --stems must be some of vocals,drums,bass,other for multi-instrument, "
        "got an empty name; without the flag all are written"
    )


# Sources.


@pytest.mark.parametrize(
    ("rate", "channels", "stem_format", "kind"),
    [
        (16000, 1, "native", ModelSource),
        (16000, 1, "masks", NativeSource),
        (16000, 2, "native", NativeSource),
        (44100, 1, "native", NativeSource),
        (44100, 2, "masks", NativeSource),
        (44100, 2, "model", ModelSource),
    ],
)
def test_which_source_a_file_is(rate, channels, stem_format, kind, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((100, channels)), rate)
    with open_source(tmp_path / "a.wav", CONFIG, stem_format) as source:
        assert type(source) is kind
        expected = (rate, channels) if kind is NativeSource else (16000, 1)
        assert (source.sample_rate, source.channels) == expected


def test_a_native_source_hears_what_a_mono_one_reads(tmp_path, song):
    soundfile.write(tmp_path / "a.wav", song, RATE, "FLOAT")
    with open_source(tmp_path / "a.wav", CONFIG, "model") as source:
        expected = np.concatenate(list(source.heard()))
        assert source.heard_length == len(expected)
    with open_source(tmp_path / "a.wav", CONFIG, "native") as source:
        heard = np.concatenate(list(source.heard()))
        assert source.heard_length == len(heard)
        assert source.length == len(song)
    np.testing.assert_allclose(heard, expected, rtol=0, atol=1e-7)
