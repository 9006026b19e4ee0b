"""The draw of fragments."""

import pathlib
import resource

import numpy as np
import pytest
import soundfile
from scipy import signal

from sswavenet.musdb.check import split_tracks
from tests.musdb.conftest import (
    NUM_FRAMES,
    coded_stems,
    draw_many,
    fragment_starts,
    gated_stems,
    names_of,
    write_same,
)
from tests.support import STEMS, tiny_config


def test_tracks_are_those_of_the_split_in_sorted_order(coded_tree, make_config, load):
    dataset = load(make_config(coded_tree), subsets=("train", "validation"))
    train, validation = split_tracks(names_of(30))
    assert dataset.tracks("train") == train == sorted(train)
    assert dataset.tracks("validation") == validation


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


def test_more_tracks_than_files_may_be_open_are_drawn_from(make_config, load, tmp_path):
    length = tiny_config().input_length
    folder = write_same(tmp_path / "set", gated_stems([], length), num_tracks=90)
    config = make_config(folder, in_memory_percentage=0.0)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(list(pathlib.Path("/dev/fd").iterdir())) + 60
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        dataset = load(config, subsets=("train", "validation"))
        inputs, _ = draw_many(dataset, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert inputs.shape == (10, length)
