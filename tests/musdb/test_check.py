"""The split, and the check of data sets."""

import json
import logging

import numpy as np
import pytest
import soundfile

from datasets import Dataset
from sswavenet.musdb.check import check_dataset, split_tracks
from tests.musdb.conftest import (
    NUM_FRAMES,
    TRAIN_NAMES,
    gated_stems,
    names_of,
    own,
    put_pipe,
    write_same,
    write_track,
)
from tests.support import STEMS
from util import UserError


@pytest.fixture
def check(tmp_path):
    def check_with_cache(config, subsets=("train",)):
        cache_folder = tmp_path / "cache"
        return check_dataset(config, subsets=subsets, cache_folder=cache_folder)

    return check_with_cache


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


def put_loud(path):
    soundfile.write(str(path), np.full(12000, 1e20), 16000, "FLOAT")


def put_shorter(path):
    audio, rate = soundfile.read(str(path), dtype="float32")
    soundfile.write(str(path), audio[:-7], rate, "FLOAT")


def put_empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (put_dead_link, "expected an audio file, got: No such file"),
        (cut_short, "cut short|expected 12000 frames"),
        (put_text, "expected an audio file"),
        (put_empty, "expected an audio file"),
        (put_pipe, "got: a folder, a pipe or a device"),
        (put_nan, "NaN"),
        (put_loud, "samples of at most 1e"),
        (put_shorter, "11993 samples at 16000 Hz, but the mixture has 12000"),
    ],
    ids=["dead link", "cut short", "text", "empty", "pipe", "NaN", "loud", "shorter"],
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
