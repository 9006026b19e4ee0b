"""The split, the draw of fragments, the cache and the check of data sets."""

import json
import logging
import os
import shutil

import numpy as np
import pytest
import soundfile
from scipy import signal

import util
from datasets import Dataset
from sswavenet.config.tasks import TASKS
from sswavenet.musdb import cache as dataset_cache
from sswavenet.musdb import track as dataset_tracks
from sswavenet.musdb.check import check_dataset, split_tracks
from tests.support import tiny_config
from util import UserError

RATE = 16000
NUM_FRAMES = 12000
STEMS = ("vocals", "drums", "bass", "other")
RAMP = np.arange(NUM_FRAMES, dtype=np.float32) / 65536  # exact: tells the place


def write_track(folder, stems, *, rate=RATE, mixture=None):
    folder.mkdir(parents=True, exist_ok=True)
    if mixture is None:
        mixture = sum(stems.values())
    for name, audio in {**stems, "mixture": mixture}.items():
        soundfile.write(str(folder / f"{name}.wav"), audio, rate, "FLOAT")


def coded_stems(number, rng):
    """Stems that tell where they come from: the place, the track, two of noise."""
    noise = rng.standard_normal((2, NUM_FRAMES)).astype(np.float32) / 16
    return {
        "vocals": RAMP,
        "drums": np.full(NUM_FRAMES, (number + 1) / 256, np.float32),
        "bass": noise[0],
        "other": noise[1],
    }


def gated_stems(segments, num_frames=NUM_FRAMES):
    """Vocals at full level within `segments` and silent elsewhere; the bass a ramp."""
    vocals = np.zeros(num_frames, np.float32)
    for start, stop in segments:
        vocals[start:stop] = 0.25
    silence = np.zeros(num_frames, np.float32)
    ramp = np.arange(num_frames, dtype=np.float32) / 65536
    return {"vocals": vocals, "drums": silence, "bass": ramp, "other": silence}


def names_of(count):
    return [f"Artist {k:02d} - Song" for k in range(count)]


# Those of `coded_tree` that train; the other 25 of its 30 validate.
TRAIN_NAMES = [names_of(30)[k] for k in (7, 8, 23, 25, 28)]


def write_tree(folder, make_stems, *, num_tracks=26, part="train"):
    for number, name in reversed(list(enumerate(names_of(num_tracks)))):
        write_track(folder / part / name, make_stems(number))
    return folder


def write_same(folder, stems, *, num_tracks=26, rate=RATE):
    """A tree in which all tracks are the same."""
    write_track(folder / "one", stems, rate=rate)
    (folder / "train").mkdir()
    for name in names_of(num_tracks):
        (folder / "train" / name).symlink_to(folder / "one")
    return folder


def own(folder):
    """Replace a linked track by a copy, to be changed."""
    source = folder.resolve()
    folder.unlink()
    return shutil.copytree(source, folder)


@pytest.fixture(scope="session")
def coded_tree(tmp_path_factory):
    """Thirty tracks of `coded_stems`, and two to test with; read only."""
    rng, folder = np.random.default_rng(7), tmp_path_factory.mktemp("coded")
    write_tree(folder, lambda k: coded_stems(k, rng), num_tracks=30)
    return write_tree(folder, lambda k: coded_stems(k, rng), num_tracks=2, part="test")


@pytest.fixture
def tree(coded_tree, tmp_path):
    """The tracks of `coded_tree`; `own` one before it is changed."""
    for source in coded_tree.glob("*/*"):
        link = tmp_path / "set" / source.parent.name / source.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source)
    return tmp_path / "set"


@pytest.fixture
def make_config(tmp_path):
    def make(folder, task_name="multi-instrument", **changes):
        config = tiny_config(task_name, dataset={"path": str(folder)})
        return config.replace(**changes)

    return make


@pytest.fixture
def load(tmp_path):
    def load_dataset(config, subsets=("train",)):
        dataset = Dataset(config, cache_folder=tmp_path / "cache")
        dataset.load(subsets, progress=False)
        return dataset

    return load_dataset


@pytest.fixture
def check(tmp_path):
    def check_with_cache(config, subsets=("train",)):
        cache_folder = tmp_path / "cache"
        return check_dataset(config, subsets=subsets, cache_folder=cache_folder)

    return check_with_cache


def draw_many(dataset, count, seed=0, subset="train"):
    return dataset.draw_batch(subset, count, np.random.default_rng(seed))


def fragment_starts(config, ramp_targets):
    """Where fragments began, from the first target sample of a `RAMP`."""
    before = config.receptive_field_length // 2 - config.target_padding
    return np.rint(ramp_targets[:, 0] * 65536).astype(int) - before


# The split


@pytest.mark.parametrize("count", [30, 100])
def test_split_is_that_of_2018(golden, count):
    expected = json.loads((golden / "facts.json").read_text())[f"val_idx_{count}"]
    names = [f"{k:03d}" for k in range(count)]
    train, validation = split_tracks(names)
    assert validation == [names[k] for k in expected]
    assert train == sorted(set(names) - set(validation))


def test_split_does_not_depend_on_the_order_of_names(rng):
    names = names_of(40)
    assert split_tracks(list(rng.permutation(names))) == split_tracks(names)


def test_split_of_too_few_tracks_says_how_many_it_needs():
    with pytest.raises(UserError, match=r"at least 26 training tracks .* got 25"):
        split_tracks(names_of(25))
    assert [len(part) for part in split_tracks(names_of(26))] == [1, 25]


def test_tracks_are_those_of_the_split_in_sorted_order(coded_tree, make_config, load):
    dataset = load(make_config(coded_tree), subsets=("train", "validation"))
    train, validation = split_tracks(names_of(30))
    assert dataset.tracks("train") == train == sorted(train)
    assert dataset.tracks("validation") == validation


# Voiced segments


def test_voiced_segments_are_those_of_2018(golden):
    expected = json.loads((golden / "facts.json").read_text())["singing_indices"]
    segments = dataset_tracks.voiced_segments(np.load(golden / "singing_sequence.npy"))
    assert np.ravel(segments).tolist() == expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0, 0, 0], []),
        ([1, 1, 1], []),
        ([0, 1, 1], []),
        ([1, 1, 0], []),
        ([1, 0, 1], []),
        ([0, 1, 0], [[800, 1600]]),
        ([0, 1, 0, 1, 1, 0, 1], [[800, 1600], [2400, 4000]]),
        ([1, 0, 1, 0], [[1600, 2400]]),
        ([0, 1, 0, 10, 0], [[800, 1600], [2400, 3200]]),
        ([0, -0.1, 0, 0.0999, 0, 1, 0], [[800, 1600], [4000, 4800]]),
    ],
)
def test_voiced_segments_by_hand(levels, expected):
    vocals = np.repeat(np.float32(levels), 800)
    assert dataset_tracks.voiced_segments(vocals) == expected


def test_voiced_segments_of_nothing_and_of_a_short_last_chunk():
    assert dataset_tracks.voiced_segments(np.zeros(0, np.float32)) == []
    vocals = np.r_[np.zeros(800), np.ones(800), np.zeros(3)].astype(np.float32)
    assert dataset_tracks.voiced_segments(vocals) == [[800, 1600]]


# Fragments


def test_fragments_are_the_files_at_one_place(coded_tree, make_config, load):
    config = make_config(coded_tree)
    dataset = load(config)
    inputs, targets = draw_many(dataset, 200)
    assert inputs.shape == (200, config.input_length)
    assert inputs.dtype == np.float32
    assert [target.shape for target in targets] == [(200, 23)] * 3
    starts = fragment_starts(config, targets[0])
    tracks = np.rint(targets[1][:, 0] * 256).astype(int) - 1
    assert len(set(tracks)) == 5
    middle = config.receptive_field_length // 2
    for k, (track, start) in enumerate(zip(tracks, starts)):
        folder = coded_tree / "train" / names_of(30)[track]
        stems = [
            soundfile.read(str(folder / f"{stem}.wav"), dtype="float32")[0][
                start : start + config.input_length
            ]
            for stem in STEMS
        ]
        np.testing.assert_allclose(inputs[k], sum(stems), atol=1e-7)
        for target, stem in zip(targets, stems):
            # The target field of 21 samples with one more on each side.
            assert np.array_equal(target[k], stem[middle - 1 : middle + 22])


def test_every_place_can_be_drawn(make_config, load, tmp_path):
    config = tiny_config()
    length = config.input_length + 3
    folder = write_same(tmp_path / "set", gated_stems([], length))
    config = make_config(folder)
    _, targets = draw_many(load(config), 100)
    assert set(fragment_starts(config, targets[2])) == {0, 1, 2, 3}


def test_singing_voice_is_mixture_and_vocals(make_config, load, tmp_path, rng):
    folder = write_same(tmp_path / "set", coded_stems(3, rng))
    for stem in ("drums", "bass", "other"):
        (folder / "one" / f"{stem}.wav").unlink()
    config = make_config(folder, "singing-voice")
    inputs, (vocals, accompaniment) = draw_many(load(config), 50)
    field = slice(config.receptive_field_length // 2 - 1, None)
    middle = inputs[:, field][:, : config.padded_target_field_length]
    assert np.array_equal(middle, vocals + accompaniment)
    mixture, _ = soundfile.read(str(folder / "one" / "mixture.wav"), dtype="float32")
    for start, fragment in zip(fragment_starts(config, vocals), inputs):
        expected = mixture[start : start + config.input_length]
        np.testing.assert_allclose(fragment, expected, atol=1e-7)


def test_test_tracks(coded_tree, make_config, load):
    dataset = load(make_config(coded_tree), subsets=("test",))
    assert dataset.tracks("test") == names_of(2)
    assert draw_many(dataset, 2, subset="test")[0].shape[0] == 2


def test_the_same_generator_gives_the_same_batch(coded_tree, make_config, load):
    config = make_config(coded_tree, augmentation_mix=0.5, augmentation_resample=0.1)
    dataset, again = load(config), load(config)
    dataset.draw_batch("train", 3, np.random.default_rng(99))  # leaves no trace
    inputs, targets = draw_many(dataset, 8, seed=[1337, 0, 4, 2])
    same_inputs, same_targets = draw_many(again, 8, seed=[1337, 0, 4, 2])
    assert np.array_equal(inputs, same_inputs)
    assert np.array_equal(targets, same_targets)
    assert not np.array_equal(inputs, draw_many(dataset, 8, seed=[1337, 0, 4, 3])[0])


def test_audio_is_downmixed_and_resampled(make_config, load, tmp_path, rng):
    stereo = (0.1 * rng.standard_normal((4, 6615, 2))).astype(np.float32)
    folder = write_same(tmp_path / "set", dict(zip(STEMS, stereo)), rate=22050)
    load(make_config(folder))
    (path,) = (tmp_path / "cache" / "multi-instrument" / "train").glob("*.npy")
    expected = [
        signal.resample_poly((stem[:, 0] + stem[:, 1]) / 2, 320, 441) for stem in stereo
    ]
    assert np.load(path).shape == (4, 4800)
    np.testing.assert_allclose(np.load(path), expected, atol=1e-6)


# Voiced fragments


def test_voiced_fraction(make_config, load, tmp_path):
    segments = [(1600, 3200), (7200, 8000)]
    folder = write_same(tmp_path / "set", gated_stems(segments))
    config = make_config(folder, extract_voice_percentage=0.6)
    length, count = config.input_length, 4000
    _, targets = draw_many(load(config), count)
    starts = fragment_starts(config, targets[2])
    inside = [(a <= starts) & (starts + length <= b) for a, b in segments]
    # A whole track may give a fragment inside a segment too.
    places = NUM_FRAMES - length + 1
    for k, (start, stop) in enumerate(segments):
        chance = 0.6 / 2 + 0.4 * (stop - start - length + 1) / places
        error = np.sqrt(chance * (1 - chance) / count)
        assert abs(inside[k].mean() - chance) < 4 * error


def test_all_fragments_from_the_single_voiced_segment(make_config, load, tmp_path):
    folder = write_same(tmp_path / "set", gated_stems([(4000, 4800)]))
    config = make_config(folder, extract_voice_percentage=1)
    _, targets = draw_many(load(config), 300)
    starts = fragment_starts(config, targets[2])
    assert starts.min() >= 4000
    assert starts.max() <= 4800 - config.input_length


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ((4000, 4800), 4400 - 2000),  # the segment's middle is the fragment's
        ((800, 1600), 0),  # not beyond the track's ends
        ((10400, 11200), NUM_FRAMES - 4001),
    ],
)
def test_a_segment_shorter_than_a_fragment(
    make_config, load, tmp_path, segment, expected
):
    folder = write_same(tmp_path / "set", gated_stems([segment]))
    config = make_config(folder, extract_voice_percentage=1, target_field_length=3973)
    assert config.input_length == 4001
    _, targets = draw_many(load(config), 20)
    starts = fragment_starts(config, targets[2])
    assert np.abs(starts - expected).max() <= 1


@pytest.mark.parametrize(
    "segments", [[], [(8000, NUM_FRAMES)]], ids=["silent", "one onset"]
)
def test_vocals_without_a_segment_are_drawn_as_a_whole(
    make_config, load, tmp_path, segments
):
    folder = write_same(tmp_path / "set", gated_stems(segments))
    config = make_config(folder, extract_voice_percentage=1)
    _, targets = draw_many(load(config), 400)
    starts = fragment_starts(config, targets[2])
    assert starts.min() < 400
    assert starts.max() > NUM_FRAMES - config.input_length - 400


# Memory and cache


def test_fragments_do_not_depend_on_where_tracks_are_kept(
    coded_tree, make_config, load
):
    batches = []
    for share in (0, 0.4, 1):
        dataset = load(make_config(coded_tree, in_memory_percentage=share))
        tracks = dataset._tracks["train"]
        mapped = [isinstance(track.stems, np.memmap) for track in tracks]
        assert sum(mapped) == 5 - round(5 * share)
        batches.append(draw_many(dataset, 40))
    for inputs, targets in batches[1:]:
        assert np.array_equal(inputs, batches[0][0])
        assert np.array_equal(targets, batches[0][1])


@pytest.fixture
def decoded(monkeypatch):
    """Names of the tracks that were decoded, in some order."""
    names, decode = [], dataset_tracks.decode_track

    def decode_and_note(folder, *arguments):
        names.append(folder.name)
        return decode(folder, *arguments)

    monkeypatch.setattr(dataset_tracks, "decode_track", decode_and_note)
    return names


def test_cache_is_used_and_follows_its_sources(tree, make_config, load, decoded):
    config = make_config(tree)
    load(config)
    assert sorted(decoded) == TRAIN_NAMES
    decoded.clear()
    load(config)
    assert decoded == []
    changed = own(tree / "train" / TRAIN_NAMES[1])
    write_track(changed, {stem: np.full(5000, 0.5, np.float32) for stem in STEMS})
    dataset = load(config)
    assert decoded == [changed.name]
    stems = dict(zip(dataset.tracks("train"), dataset._tracks["train"]))
    assert np.array_equal(stems[changed.name].stems, np.full((4, 5000), 0.5))


def test_cache_of_another_rate_or_task_is_another(tree, make_config, load, decoded):
    load(make_config(tree))
    decoded.clear()
    load(make_config(tree, sample_rate=8000))
    assert sorted(decoded) == TRAIN_NAMES
    decoded.clear()
    load(make_config(tree, "singing-voice", sample_rate=8000))
    assert sorted(decoded) == TRAIN_NAMES


@pytest.mark.parametrize(
    "broken", ["audio", "facts", "no audio", "other facts", "a pipe", "pipe of facts"]
)
def test_a_broken_cache_is_made_anew(
    tree, make_config, load, decoded, tmp_path, broken
):
    config = make_config(tree)
    load(config)
    decoded.clear()
    name = TRAIN_NAMES[2]
    path = tmp_path / "cache" / "multi-instrument" / "train" / f"{name}.npy"
    if broken == "audio":
        path.write_bytes(path.read_bytes()[:1000])
    elif broken == "no audio":
        path.unlink()
    elif "pipe" in broken:
        put_pipe(path if broken == "a pipe" else path.with_suffix(".json"))
    else:
        text = '{"facts": 1}' if broken == "other facts" else '{"key":'
        path.with_suffix(".json").write_text(text)
    load(config)
    assert decoded == [name]


def test_facts_never_vouch_for_other_audio(tree, make_config, load, monkeypatch):
    config = make_config(tree)
    expected = draw_many(load(config), 50)
    path = own(tree / "train" / TRAIN_NAMES[0]) / "vocals.wav"
    original, state = path.read_bytes(), path.stat()
    soundfile.write(str(path), np.zeros(NUM_FRAMES), RATE, "FLOAT")

    def stop(path, document):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(util, "write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            load(config)
    path.write_bytes(original)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert np.array_equal(draw_many(load(config), 50)[0], expected[0])


def test_an_interrupted_write_leaves_nothing(tree, make_config, monkeypatch, tmp_path):
    def fail(path, array):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    cache_folder = tmp_path / "cache"
    with pytest.raises(UserError, match=r"cannot write .*\.npy: No space left"):
        check_dataset(make_config(tree), cache_folder=cache_folder)
    assert [path for path in cache_folder.rglob("*") if path.is_file()] == []


def test_default_cache_folder(tree, make_config, monkeypatch, tmp_path):
    config = make_config(tree)
    assert dataset_cache.default_cache_folder(config) == tree / ".cache-16000"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    elsewhere = dataset_cache.default_cache_folder(config)
    assert tmp_path / "user" in elsewhere.parents
    other = dataset_cache.default_cache_folder(make_config(tree / "train"))
    assert other != elsewhere
    Dataset(config).load(("test",))
    assert len(list(elsewhere.rglob("*.npy"))) == 2
    assert not (tree / ".cache-16000").exists()


def test_constructing_touches_nothing(tmp_path, make_config):
    Dataset(make_config(tmp_path / "none"), cache_folder=tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


# The check


def put_dead_link(path):
    path.unlink()
    path.symlink_to(path.with_name("none"))


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-4000])


def put_text(path):
    path.write_text("this is no audio")


def put_nan(path):
    audio, rate = soundfile.read(str(path), dtype="float32")
    audio[5000] = np.nan
    soundfile.write(str(path), audio, rate, "FLOAT")


def put_shorter(path):
    audio, rate = soundfile.read(str(path), dtype="float32")
    soundfile.write(str(path), audio[:-7], rate, "FLOAT")


def put_empty(path):
    path.write_bytes(b"")


def put_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (put_dead_link, "expected an audio file, got: No such file"),
        (cut_short, "cut short|expected 12000 frames"),
        (put_text, "expected an audio file"),
        (put_empty, "expected an audio file"),
        (put_pipe, "got: a folder, a pipe or a device"),
        (put_nan, "NaN"),
        (put_shorter, "11993 samples at 16000 Hz, but the mixture has 12000"),
    ],
    ids=["dead link", "cut short", "text", "empty", "pipe", "NaN", "shorter"],
)
def test_check_names_the_broken_file(tree, make_config, check, load, damage, words):
    path = own(tree / "train" / TRAIN_NAMES[3]) / "bass.wav"
    damage(path)
    config = make_config(tree)
    report = check(config)
    (error,) = report.errors
    assert error.startswith(f"{path}: ")
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(error)
    assert "\n" not in error
    (line,) = [line for line in report.table.splitlines() if "ERROR" in line]
    assert line.startswith(path.parent.name)
    with pytest.raises(UserError) as raised:
        load(config)
    assert str(raised.value) == error


def test_check_finds_all_errors_of_both_subsets(tree, make_config, check, load, caplog):
    first, other = (own(tree / "train" / names_of(30)[k]) for k in (3, 20))
    paths = [first / "mixture.wav", first / "other.wav", other / "vocals.wav"]
    for path in paths:
        put_text(path)
    report = check(make_config(tree), subsets=("train", "validation"))
    assert sorted(error.split(":")[0] for error in report.errors) == [
        str(path) for path in paths
    ]
    with pytest.raises(UserError) as raised:
        load(make_config(tree), ("train", "validation"))
    logged = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert [str(raised.value), *logged] == report.errors


def test_check_of_tracks_shorter_than_a_fragment(tree, make_config, check):
    enough, short = (own(tree / "train" / TRAIN_NAMES[k]) for k in (3, 4))
    config = make_config(tree)
    level = np.ones(config.input_length, np.float32)
    write_track(enough, dict.fromkeys(STEMS, level))
    write_track(short, dict.fromkeys(STEMS, level[1:]))
    assert check(config).errors == [
        f"{short / 'mixture.wav'}: 48 samples at 16000 Hz are shorter than a fragment "
        f"of 49"
    ]


def test_check_of_an_empty_a_missing_and_a_small_set(tmp_path, make_config):
    config = make_config(tmp_path / "set")
    (error,) = check_dataset(config).errors
    here = tmp_path / "set" / "train"
    how = "; data/README.md says how to get a data set, and make train-demo tries a "
    how += "small one"
    missing = "expected a folder of tracks, got No such file or directory"
    assert error == f"{here}: {missing}{how}"
    (tmp_path / "set" / "train" / ".hidden").mkdir(parents=True)
    (error,) = check_dataset(config).errors
    assert error == f"{here}: expected folders of tracks, got none{how}"
    folder = write_same(tmp_path / "small", gated_stems([]), num_tracks=2)
    (error,) = check_dataset(make_config(folder)).errors
    assert error.startswith(f"{folder / 'train'}: expected at least 26 training tracks")
    with pytest.raises(UserError, match="got 2"):
        Dataset(make_config(folder)).load()


def test_check_of_a_track_without_any_file(tree, make_config, check):
    (tree / "train" / TRAIN_NAMES[0]).unlink()
    (tree / "train" / TRAIN_NAMES[0]).mkdir()
    errors = check(make_config(tree)).errors
    assert len(errors) == 2  # no mixture, and no stem
    assert all(TRAIN_NAMES[0] in error for error in errors)


def test_check_measures_mixture_against_sum(tree, make_config, check):
    name = TRAIN_NAMES[3]
    stems = {stem: np.full(NUM_FRAMES, 0.1, np.float32) for stem in STEMS}
    # 0.4 expected: the difference of 0.1 is -14 dB of 0.5.
    mixture = np.full(NUM_FRAMES, 0.5, np.float32)
    write_track(own(tree / "train" / name), stems, mixture=mixture)
    report = check(make_config(tree))
    assert report.errors == []
    (line,) = [line for line in report.table.splitlines() if line.startswith(name)]
    assert "-14.0" in line
    assert "-6.0" in line  # dB of full scale
    assert f"mixture is not the sum of the stems: {name}" in report.warnings


def test_check_notes_silence_and_rates(tree, make_config, load, caplog):
    silent, voiceless, mixed = (own(tree / "train" / TRAIN_NAMES[k]) for k in (0, 2, 4))
    write_track(silent, {stem: np.zeros(NUM_FRAMES, np.float32) for stem in STEMS})
    write_track(voiceless, gated_stems([]))
    soundfile.write(
        str(mixed / "drums.wav"), np.full(NUM_FRAMES // 2, 7 / 256), 8000, "FLOAT"
    )
    config = make_config(tree)
    with caplog.at_level(logging.INFO):
        load(config)
    warnings = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert f"{tree}: silent mixture: {silent.name}" in warnings
    assert f"{tree}: silent vocals, drums, other: {voiceless.name}" in warnings
    assert f"{tree}: several sample rates: {mixed.name}" in warnings
    assert "8000/16000" in caplog.text
    assert "5 train; 0.1 minutes; 0 errors, 6 warnings" in caplog.text


def test_resampled_stems_may_differ_by_one_sample(tree, make_config, check):
    track = own(tree / "train" / TRAIN_NAMES[1])
    drums = np.full(33076, 0.1)  # 12000.4 samples at 16000 Hz, the others have 12000
    soundfile.write(str(track / "drums.wav"), drums, 44100, "FLOAT")
    report = check(make_config(tree))
    assert report.errors == []
    lengths = [facts.num_frames for facts in report.tracks["train"]]
    assert lengths == [NUM_FRAMES] * 5


def test_streamed_wav_of_unknown_length_is_accepted(tree, make_config, check):
    path = own(tree / "train" / TRAIN_NAMES[3]) / "bass.wav"
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert check(make_config(tree)).errors == []


# Augmentation


EVERYTHING = {
    "augmentation_mix": 0.5,
    "augmentation_gain_db": 6,
    "augmentation_polarity": 0.5,
    "augmentation_resample": 0.1,
    "augmentation_tilt": 0.4,
    "augmentation_level_db": 5,
}


def middle_of(config, inputs):
    start = config.receptive_field_length // 2 - config.target_padding
    return inputs[:, start : start + config.padded_target_field_length]


@pytest.mark.parametrize("task_name", TASKS)
def test_augmented_input_is_the_sum_of_its_stems(
    make_config, load, tmp_path, rng, task_name
):
    # Without the stem that no target shows, the targets' sum is the input.
    stems = coded_stems(3, rng)
    stems["other"][:] = 0
    folder = write_same(tmp_path / "set", stems)
    config = make_config(folder, task_name, **EVERYTHING)
    inputs, targets = draw_many(load(config), 100)
    assert inputs.dtype == targets[0].dtype == np.float32
    np.testing.assert_allclose(middle_of(config, inputs), sum(targets), atol=2e-7)


def test_only_training_is_augmented(coded_tree, make_config, load):
    plain = load(make_config(coded_tree), subsets=("train", "test"))
    augmented = load(make_config(coded_tree, **EVERYTHING), subsets=("train", "test"))
    expected = draw_many(plain, 20, subset="test")
    inputs, targets = draw_many(augmented, 20, subset="test")
    assert np.array_equal(inputs, expected[0])
    assert np.array_equal(targets, expected[1])
    assert not np.array_equal(draw_many(augmented, 20)[0], draw_many(plain, 20)[0])


def test_mixed_stems_come_from_several_tracks(make_config, load, tmp_path):
    # Each stem is a constant that tells the track.
    def make_stems(number):
        level = np.full(60, (number + 1) / 256, np.float32)
        return dict.fromkeys(STEMS, level)

    folder = write_tree(tmp_path / "set", make_stems, num_tracks=30)
    config = make_config(folder, augmentation_mix=0.3)
    _, targets = draw_many(load(config), 2000)
    vocals, drums, bass = (target[:, 0] for target in targets)
    mixed = (vocals != drums) | (drums != bass)
    # Of 5 training tracks, three draws agree once in 5**2.
    chance = 0.3 * (1 - 1 / 5**2)
    assert abs(mixed.mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / 2000)
    assert all(np.ptp(target, axis=1).max() == 0 for target in targets)


def test_gain_and_polarity(make_config, load, tmp_path):
    stems = dict.fromkeys(STEMS, np.full(NUM_FRAMES, 0.1, np.float32))
    folder = write_same(tmp_path / "set", stems)
    config = make_config(folder, augmentation_gain_db=6, augmentation_polarity=0.25)
    _, targets = draw_many(load(config), 1000)
    gains = np.array([target[:, 0] / 0.1 for target in targets])
    decibels = 20 * np.log10(np.abs(gains))
    assert np.abs(decibels).max() <= 6.0001
    # Uniform over 12 dB: deviation 12 / sqrt(12), independent from stem to stem.
    assert abs(decibels.mean()) < 0.3
    assert abs(decibels.std() - 12 / np.sqrt(12)) < 0.2
    assert np.abs(np.corrcoef(decibels) - np.eye(3)).max() < 0.15
    assert abs((gains < 0).mean() - 0.25) < 0.035


def test_tilt_keeps_the_level_and_changes_the_spectrum(
    make_config, load, tmp_path, rng
):
    noise = (0.1 * rng.standard_normal(NUM_FRAMES)).astype(np.float32)

    folder = write_same(tmp_path / "set", dict.fromkeys(STEMS, noise))
    changes = {"target_field_length": 4001, "target_padding": 14}
    config = make_config(folder, augmentation_tilt=0.5, **changes)
    _, targets = draw_many(load(config), 60)
    _, plain = draw_many(load(make_config(folder, **changes)), 1)
    level = np.sqrt(np.mean(np.square(plain)))
    vocals = targets[0][:, 1:]
    np.testing.assert_allclose(np.sqrt(np.mean(vocals**2, axis=1)), level, rtol=0.06)
    # Filtered white noise correlates with its own past by a / (1 + a**2).
    correlations = np.mean(vocals[:, 1:] * vocals[:, :-1], axis=1) / np.mean(
        vocals**2, axis=1
    )
    assert correlations.min() < -0.3
    assert correlations.max() > 0.3
    assert np.abs(correlations).max() < 0.4 + 0.05


@pytest.mark.parametrize(("amplitude", "center"), [(0.2, -20), (1e-3, None), (0, None)])
def test_levels_are_drawn_and_silence_is_not_raised(
    make_config, load, tmp_path, amplitude, center
):
    stems: dict = dict.fromkeys(STEMS, np.zeros(NUM_FRAMES, np.float32))
    stems["vocals"] = np.full(NUM_FRAMES, amplitude, np.float32)
    stems["drums"] = -stems["vocals"] / 2
    folder = write_same(tmp_path / "set", stems)
    config = make_config(folder, augmentation_level_db=6)
    inputs, targets = draw_many(load(config), 1000)
    factors = targets[0][:, 0] / (amplitude or 1)
    # One factor for all stems, so mixtures are still their sums.
    np.testing.assert_allclose(targets[1][:, 0], -factors * amplitude / 2, rtol=1e-3)
    np.testing.assert_allclose(inputs[:, 0], factors * amplitude / 2, rtol=1e-3)
    if center is None:  # raised by 20 dB at most, and zeros by nothing
        np.testing.assert_allclose(factors, 10 if amplitude else 0, rtol=1e-3)
        return
    decibels = 20 * np.log10(np.abs(inputs[:, 0]))
    assert np.abs(decibels - center).max() <= 6.01
    assert abs(decibels.mean() - center) < 0.4
    assert abs(decibels.std() - 12 / np.sqrt(12)) < 0.2


def test_resampling_changes_pitch_not_level(make_config, load, tmp_path):
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(3 * NUM_FRAMES) / RATE)

    stems = dict.fromkeys(STEMS, tone.astype(np.float32))
    folder = write_same(tmp_path / "set", stems)
    config = make_config(folder, augmentation_resample=0.2, target_field_length=4001)
    _, targets = draw_many(load(config), 200)
    time = np.arange(4003) / RATE
    speeds = []
    for vocals in targets[0]:
        spectrum = np.abs(np.fft.rfft(vocals * np.hanning(len(vocals)), 2**18))
        hertz = np.argmax(spectrum) * RATE / 2**18
        phase = 2 * np.pi * hertz * time
        basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)
        weights, *_ = np.linalg.lstsq(basis, vocals, rcond=None)
        # A piece that reaches over the track's end holds some silence.
        if np.abs(vocals - basis @ weights).max() < 0.003:
            assert np.hypot(*weights) == pytest.approx(0.1, rel=0.005)
            speeds.append(hertz / 1000)
    assert len(speeds) > 170
    assert min(speeds) == pytest.approx(0.8, abs=0.02)
    assert max(speeds) == pytest.approx(1.2, abs=0.02)
    assert np.mean(speeds) == pytest.approx(1, abs=0.03)


def test_resampling_keeps_the_middle(make_config, load, tmp_path):
    ramp = np.arange(3 * NUM_FRAMES, dtype=np.float32) / 65536
    folder = write_same(tmp_path / "set", dict.fromkeys(STEMS, ramp))
    config = make_config(folder, augmentation_resample=0.2, target_field_length=4001)
    _, targets = draw_many(load(config), 50)
    vocals, drums, bass = (target[:, 2001] * 65536 for target in targets)
    assert np.abs(vocals - drums).max() < 2  # samples
    assert np.abs(vocals - bass).max() < 2
