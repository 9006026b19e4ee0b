"""Tracks of which only some stems are known, and several data sets with shares."""

import collections
import json
import shutil

import numpy as np
import pytest
import soundfile

import models
from datasets import Dataset
from sswavenet.backend import compat
from sswavenet.config.document import parse_config, to_document
from sswavenet.config.tasks import TASKS, OutputLoss
from sswavenet.musdb.check import check_dataset
from sswavenet.musdb.track import decode_track
from sswavenet.training import losses
from sswavenet.training.session import train
from tests.support import TASK_NAMES, random_weights, tiny_config, tiny_document
from util import UserError

STEMS = ("vocals", "drums", "bass", "other")
MULTI, SINGING = (TASKS[name] for name in TASK_NAMES)
NUM_FRAMES = 2000


def write_tree(folder, names, levels, *, num_tracks=3, parts=("train", "validation")):
    """Tracks of constant stems; only the files of `names` are written."""
    audio = {**levels, "mixture": sum(levels.values())}
    audio["accompaniment"] = audio["mixture"] - levels["vocals"]
    for part in parts:
        for number in range(num_tracks):
            track = folder / part / f"{folder.name} {number}"
            track.mkdir(parents=True)
            for name in names:
                samples = np.full(NUM_FRAMES, audio[name], np.float32)
                soundfile.write(str(track / f"{name}.wav"), samples, 16000, "FLOAT")
    return folder


LEVELS = dict(zip(STEMS, (0.0625, 0.125, 0.25, 0.5)))  # sums tell their terms
SONG_LEVELS = {stem: level / 32 for stem, level in LEVELS.items()}


@pytest.fixture
def rendered(tmp_path):
    """A data set that knows all stems."""
    return write_tree(tmp_path / "rendered", ("mixture", *STEMS), LEVELS)


@pytest.fixture
def songs(tmp_path):
    """A data set that knows vocals and accompaniment."""
    names = ("mixture", "vocals", "accompaniment")
    return write_tree(tmp_path / "songs", names, SONG_LEVELS)


def load(folder, task_name="multi-instrument", **changes):
    paths = {str(k): v for k, v in folder.items()} if isinstance(folder, dict) else None
    config = tiny_config(task_name).replace(datasets=paths or str(folder), **changes)
    dataset = Dataset(config)
    dataset.load(("train", "validation"), progress=False)
    return dataset


def draw(dataset, count, subset="train"):
    inputs, targets = dataset.draw_batch(subset, count, np.random.default_rng(3))
    return inputs[:, 0], [target[:, 0] for target in targets]


# What a track knows


@pytest.mark.parametrize(
    ("task", "files", "rows"),
    [
        (MULTI, "vocals", ["vocals", "drums bass other"]),
        (MULTI, "accompaniment", ["vocals", "drums bass other"]),
        (MULTI, "vocals accompaniment", ["vocals", "drums bass other"]),
        (MULTI, "drums", ["vocals bass other", "drums"]),
        (MULTI, "vocals bass", ["vocals", "drums other", "bass"]),
        (MULTI, "accompaniment drums", ["vocals", "drums", "bass other"]),
        (MULTI, "vocals drums bass", ["vocals", "drums", "bass", "other"]),
        (MULTI, "drums bass other", ["vocals", "drums", "bass", "other"]),
        (SINGING, "vocals", ["vocals", "accompaniment"]),
        (SINGING, "accompaniment", ["vocals", "accompaniment"]),
        (SINGING, "vocals drums bass other", ["vocals", "accompaniment"]),
    ],
)
def test_rows_are_the_known_stems_and_the_sum_of_the_others(
    tmp_path, task, files, rows
):
    write_tree(tmp_path / "set", ["mixture", *files.split()], LEVELS, num_tracks=1)
    folder = tmp_path / "set" / "train" / "set 0"
    audio, facts, errors = decode_track(folder, task, 16000)
    assert errors == []
    assert [" ".join(row) for row in facts.rows] == rows
    levels = {**LEVELS, "accompaniment": 0.875}
    expected = [sum(levels[stem] for stem in row) for row in facts.rows]
    assert audio[:, 0].tolist() == expected
    assert audio.shape == (len(rows), NUM_FRAMES)


@pytest.mark.parametrize(
    ("task", "files", "words"),
    [
        (MULTI, "", "expected at least one of vocals.wav, drums.wav, bass.wav"),
        (MULTI, "other", "expected at least one of vocals.wav, drums.wav, bass.wav"),
        (SINGING, "drums", "expected at least one of vocals.wav, accompaniment.wav"),
    ],
)
def test_a_track_that_supervises_nothing_is_refused(tmp_path, task, files, words):
    write_tree(tmp_path / "set", ["mixture", *files.split()], LEVELS, num_tracks=1)
    folder = tmp_path / "set" / "train" / "set 0"
    audio, facts, (error,) = decode_track(folder, task, 16000)
    assert audio is None
    assert facts is None
    assert error.startswith(f"{folder}: {words}")


def test_the_check_says_what_is_known(songs, rendered):
    config = tiny_config().replace(datasets=str(songs))
    table = check_dataset(config).table
    header, first, *_, summary = table.splitlines()
    assert "  known" in header
    assert first.startswith("songs 0")
    assert "  vocals  no voiced segment" in first
    assert "3 train, 3 validation; 6 of them know vocals; " in summary
    table = check_dataset(config.replace(datasets=str(rendered))).table
    assert "of them know" not in table
    assert "  all" in table


def test_a_stem_that_comes_later_is_decoded(songs, rendered):
    assert np.isnan(draw(load(songs), 1)[1][1]).all()
    for track in songs.glob("*/*"):
        for stem in STEMS[1:]:
            shutil.copy(rendered / "train" / "rendered 0" / f"{stem}.wav", track)
    assert draw(load(songs), 1)[1][1] == [LEVELS["drums"]]


# Drawing


def test_targets_of_unknown_stems_are_nan(songs):
    for subset in ("train", "validation"):
        for augmentation in ({}, {"augmentation_polarity": 1}):
            dataset = load(songs, **augmentation)
            inputs, targets = dataset.draw_batch(subset, 4, np.random.default_rng(0))
            sign = -1 if augmentation and subset == "train" else 1
            np.testing.assert_allclose(inputs, sign * sum(SONG_LEVELS.values()), 1e-6)
            assert (targets[0] == sign * SONG_LEVELS["vocals"]).all()
            assert np.isnan(targets[1:]).all()
    _, targets = draw(load(songs, "singing-voice"), 4)
    assert (targets[0] == SONG_LEVELS["vocals"]).all()
    np.testing.assert_allclose(targets[1], sum(SONG_LEVELS.values()) * 14 / 15, 1e-6)


def test_places_are_drawn_by_the_shares(songs, rendered):
    count = 2000
    for subset in ("train", "validation"):
        for share in (0.2, 0.7):
            dataset = load({songs: 5 * share, rendered: 5 * (1 - share)})
            _, (vocals, *_) = draw(dataset, count, subset)
            mean = (vocals == SONG_LEVELS["vocals"]).mean()
            assert abs(mean - share) < 4 * np.sqrt(share * (1 - share) / count)
    assert dataset.tracks("train") == [
        *(f"rendered {k}" for k in range(3)),
        *(f"songs {k}" for k in range(3)),
    ]


def test_mixed_fragments_take_an_accompaniment_whole_or_apart(songs, rendered):
    count, share = 3000, 0.4
    dataset = load({songs: share, rendered: 1 - share}, augmentation_mix=1)
    inputs, (vocals, drums, bass) = draw(dataset, count)
    whole = np.isnan(drums)
    assert np.array_equal(whole, np.isnan(bass))
    assert not np.isnan(vocals).any()
    sung = vocals == SONG_LEVELS["vocals"]
    rest = np.where(whole, SONG_LEVELS["drums"] * 7, LEVELS["drums"] * 7)
    np.testing.assert_allclose(inputs, vocals + rest, 1e-6)
    found = collections.Counter(zip(sung.tolist(), whole.tolist()))
    for (is_song, is_whole), number in found.items():
        chance = (share if is_song else 1 - share) * (share if is_whole else 1 - share)
        assert abs(number / count - chance) < 4 * np.sqrt(chance / count)
    assert len(found) == 4


def test_an_accompaniment_is_changed_as_one_signal(songs):
    dataset = load(songs, augmentation_gain_db=12, augmentation_mix=0.5)
    inputs, (vocals, *_) = draw(dataset, 50)
    gains = (inputs - vocals) / (SONG_LEVELS["drums"] * 7)
    assert len(set(gains.tolist())) == 50
    assert np.abs(20 * np.log10(gains)).max() <= 12.001


def test_rows_that_never_fit_leave_a_fragment_unmixed(tmp_path, monkeypatch):
    # Vocals of one and drums of the other leave no row for the bass.
    one = write_tree(tmp_path / "one", ("mixture", "vocals", "drums"), LEVELS)
    other = write_tree(tmp_path / "other", ("mixture", "vocals", "bass"), SONG_LEVELS)
    dataset = load({one: 1, other: 1}, augmentation_mix=1)
    inputs, targets = draw(dataset, 300)
    known = np.isfinite(targets).sum(axis=0)
    assert set(known.tolist()) == {2}
    sums = {np.float32(sum(levels.values())) for levels in (LEVELS, SONG_LEVELS)}
    assert sums & set(inputs.tolist())  # unmixed ones


# Losses and gradients


def network(config, weights):
    """A model that is ready to train, with plain gradient descent as far as Adam is."""
    model = models.build_wavenet(config)
    models.load_weights(model, config, weights)
    model.compile(
        optimizer=compat.make_optimizer(0.01, 1e-8), **losses.compile_arguments(config)
    )
    return model


def batch_for(config, rng, count):
    length, outputs = config.padded_target_field_length, len(config.task.supervised)
    inputs = rng.standard_normal((count, config.input_length)).astype("float32")
    targets = rng.standard_normal((outputs, count, length)).astype("float32")
    return inputs, list(targets)


@pytest.mark.parametrize("terms", [(1, 0), (0, 1), (1, 40), (0, 0)])
def test_a_loss_is_the_mean_of_the_known_fragments(terms, rng):
    target, estimate = rng.standard_normal((2, 5, 40)).astype("float32")
    function = losses.output_loss(OutputLoss(2.0, *terms))
    unknown = target.copy()
    unknown[[1, 4]] = np.nan
    for value in (
        function,
        losses.mean_absolute_error,
        losses.valid_mean_absolute_error,
    ):

        def of(target, estimate, value=value):
            tensors = compat.constant(target), compat.constant(estimate)
            return compat.get_value(value(*tensors))

        found = of(unknown, estimate)
        expected = of(target[[0, 2, 3]], estimate[[0, 2, 3]])
        np.testing.assert_allclose(found.mean(), expected.mean(), rtol=1e-6)
        assert (found[[1, 4]] == 0).all()
        assert (of(np.full_like(target, np.nan), estimate) == 0).all()


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_logged_values_are_those_of_the_known_fragments(task_name, rng):
    config = tiny_config(task_name)
    weights = random_weights(config, rng)
    inputs, targets = batch_for(config, rng, 4)
    unknown = [target.copy() for target in targets]
    unknown[-1][[0, 3]] = np.nan
    model = network(config, weights)
    logs = compat.test_on_batch(model, inputs, unknown)
    last = f"data_output_{len(targets)}"
    whole, part = (
        compat.test_on_batch(model, inputs[k], [target[k] for target in targets])
        for k in ([0, 1, 2, 3], [1, 2])
    )
    for name, value in logs.items():
        expected = (part if name.startswith(last) else whole)[name]
        if name == "loss":
            loss = f"{last}_loss"
            expected = whole[name] - whole[loss] + part[loss]
        assert float(value) == pytest.approx(float(expected), rel=1e-5), name


def stepped(config, weights, inputs, targets, **options):
    """The weights after one step of Adam from nothing: signs of the gradients."""
    model = network(config, weights)
    compat.train_on_batch(model, inputs, targets)
    _, first, _ = compat.adam_state(model)
    return models.read_arrays(model, config, first)  # 0.1 of the gradient


@pytest.mark.slow
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_gradients_are_those_of_what_is_known(task_name, rng):
    config = tiny_config(task_name)
    weights = random_weights(config, rng)
    inputs, targets = batch_for(config, rng, 3)
    unknown = [target.copy() for target in targets]
    unknown[0][1] = np.nan
    unknown[-1][1] = np.nan
    if len(targets) > 2:
        unknown[1][1] = np.nan
    kept = [0, 2]
    found = stepped(config, weights, inputs, unknown)
    expected = stepped(config, weights, inputs[kept], [t[kept] for t in targets])
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_an_unknown_output_has_no_gradient_at_all(rng):
    config = tiny_config()
    weights = random_weights(config, rng)
    inputs, targets = batch_for(config, rng, 3)
    targets[1][:] = np.nan
    gradients = stepped(config, weights, inputs, targets)
    last = config.num_residual_blocks + 3
    kernel, bias = gradients[f"conv1d_{last}/kernel"], gradients[f"conv1d_{last}/bias"]
    assert (kernel[..., 1] == 0).all()
    assert bias[1] == 0
    assert (kernel[..., [0, 2]] != 0).any(axis=(0, 1)).all()
    targets[0][:] = targets[2][:] = np.nan
    gradients = stepped(config, weights, inputs, targets)
    assert all((gradient == 0).all() for gradient in gradients.values())


# Training


@pytest.mark.slow
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_training_on_both_kinds(task_name, songs, rendered, tmp_path):
    document = tiny_document(task_name, training={"path": str(tmp_path / "session")})
    document["dataset"].update(
        path={str(songs): 1, str(rendered): 1}, augmentation={"mix": 0.5}
    )
    config = parse_config(document)
    train(config)
    written = json.loads((tmp_path / "session" / "config.json").read_text())
    assert written["dataset"]["path"] == document["dataset"]["path"]
    assert parse_config(written) == config
    assert parse_config(to_document(config)) == config
    rows = (tmp_path / "session").glob("history_*.csv")
    assert "nan" not in next(rows).read_text()


def test_several_data_sets_cannot_be_evaluated_at_once(songs, rendered):
    config = tiny_config().replace(datasets={str(songs): 1, str(rendered): 1})
    with pytest.raises(UserError, match=r"expected one data set, got .*--dataset_path"):
        _ = config.dataset_path


def test_the_errors_of_all_data_sets_are_found(songs, tmp_path, caplog):
    missing = [tmp_path / "none", tmp_path / "nothing"]
    with pytest.raises(UserError, match=r"none/train: expected a folder of tracks"):
        load({songs: 1, missing[0]: 1, missing[1]: 1})
    assert str(missing[1]) in caplog.text
