"""Decoded tracks in memory and in the cache."""

import os

import numpy as np
import pytest
import soundfile

import util
from datasets import Dataset
from sswavenet.musdb.cache import default_cache_folder
from sswavenet.musdb.check import check_dataset
from sswavenet.musdb.track import decode_track
from tests.musdb.conftest import (
    NUM_FRAMES,
    RATE,
    TRAIN_NAMES,
    draw_many,
    own,
    put_pipe,
    write_track,
)
from tests.support import STEMS
from util import UserError


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
    names, decode = [], decode_track

    def decode_and_note(folder, *arguments):
        names.append(folder.name)
        return decode(folder, *arguments)

    monkeypatch.setattr("sswavenet.musdb.track.decode_track", decode_and_note)
    return names


def test_what_a_killed_decoder_left_is_removed(tree, tmp_path, make_config, load):
    left = tmp_path / f"cache/multi-instrument/train/{util.PARTIAL}x"
    left.mkdir(parents=True)
    (left / "new0.npy").touch()
    load(make_config(tree))
    assert not left.exists()


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
    assert default_cache_folder(config) == tree / ".cache-16000"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    elsewhere = default_cache_folder(config)
    assert tmp_path / "user" in elsewhere.parents
    other = default_cache_folder(make_config(tree / "train"))
    assert other != elsewhere
    Dataset(config).load(("test",))
    assert len(list(elsewhere.rglob("*.npy"))) == 2
    assert not (tree / ".cache-16000").exists()


def test_constructing_touches_nothing(tmp_path, make_config):
    Dataset(make_config(tmp_path / "none"), cache_folder=tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []
