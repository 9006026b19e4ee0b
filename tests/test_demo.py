"""The tools in data/ that make and decode data sets."""

import json
import pathlib
import shutil
import signal
import sys

import av
import numpy as np
import pytest
import soundfile

from datasets import Dataset
from sswavenet.config.document import parse_config
from sswavenet.musdb import cache
from sswavenet.musdb.check import check_dataset
from util import UserError

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "data"))

import decode_stems  # noqa: E402
import make_demo  # noqa: E402
import train_demo  # noqa: E402

STEMS = ("vocals", "drums", "bass", "other")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "set"
    assert make_demo.make_demo(folder, seed=1337)
    return folder


def demo_config(folder, **changes):
    document = json.loads((ROOT / "config_demo.json").read_text())
    document["dataset"]["path"] = str(folder)
    return parse_config(document, "config_demo.json").replace(**changes)


@pytest.mark.slow
def test_demo_set_passes_the_check(demo, tmp_path):
    config = demo_config(demo)
    report = check_dataset(
        config, subsets=("train", "validation", "test"), cache_folder=tmp_path
    )
    assert report.errors == []
    assert report.warnings == []
    counts = {subset: len(facts) for subset, facts in report.tracks.items()}
    assert counts == {"train": 5, "validation": 25, "test": 3}
    for facts in report.tracks["train"] + report.tracks["validation"]:
        assert facts.source_rates == [22050]
        assert facts.segments  # voiced fragments can be drawn


@pytest.mark.slow
def test_demo_set_is_drawn_for_both_tasks(demo, tmp_path):
    for task_name, count in (("multi-instrument", 3), ("singing-voice", 2)):
        config = demo_config(demo, task_name=task_name)
        dataset = Dataset(config, cache_folder=tmp_path)
        dataset.load(("validation",), progress=False)
        inputs, targets = dataset.draw_batch("validation", 4, np.random.default_rng(0))
        assert inputs.shape == (4, config.input_length)
        assert len(targets) == count


def test_demo_mixture_is_the_exact_sum(demo):
    for folder in sorted((demo / "test").iterdir()):
        stems = [
            soundfile.read(str(folder / f"{stem}.wav"), dtype="int16")[0]
            for stem in STEMS
        ]
        mixture, rate = soundfile.read(str(folder / "mixture.wav"), dtype="int16")
        assert rate == 22050
        assert mixture.shape == (6 * 22050, 2)
        assert np.array_equal(mixture, np.sum(stems, axis=0))
        assert np.abs(mixture).max() < 32000
        assert all(np.abs(stem).max() > 1000 for stem in stems)


def test_demo_songs_depend_on_the_seed_alone():
    first, again, other = (
        make_demo.make_stems(np.random.default_rng([seed, 0, 0])) for seed in (1, 1, 2)
    )
    for stem in STEMS:
        assert np.array_equal(first[stem], again[stem])
        assert not np.array_equal(first[stem], other[stem])


def test_demo_set_is_made_once_and_overwrites_nothing(demo, tmp_path, caplog):
    assert make_demo.main([str(demo)]) == 0
    assert not make_demo.make_demo(demo, seed=1337)
    (tmp_path / "notes.txt").write_text("mine")
    assert make_demo.main([str(tmp_path)]) == 2
    assert "holds something else" in caplog.text
    assert make_demo.main([str(tmp_path / "notes.txt" / "demo")]) == 2
    assert "notes.txt: expected a folder or nothing there" in caplog.text
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert make_demo.main([str(tmp_path / "link")]) == 2
    assert "got a link" in caplog.text
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["empty", "link", "notes.txt"]


# The demonstration


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a main.py of its own where `train_demo` looks for one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "main.py"


def test_the_demonstration_hands_on_the_status(program):
    program.write_text("raise SystemExit(3)")
    assert train_demo.run_main() == 3
    program.write_text("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(UserError, match=r"main\.py was ended by signal 9"):
        train_demo.run_main()


def test_a_stopped_demonstration_lets_training_save(program):
    # It tells its parent that it has begun, and takes its time to save.
    program.write_text("""
import os, pathlib, signal, time
def save(*_):
    time.sleep(0.5)
    pathlib.Path("saved").touch()
    raise SystemExit
signal.signal(signal.SIGTERM, save)
os.kill(os.getppid(), signal.SIGUSR1)
time.sleep(30)
""")

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_demo.run_main()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (program.parent / "saved").exists()


# Decoding of stem files


def write_stem_file(path, audio, rate=44100, **options):
    """A file of one AAC stream for each stereo signal in `audio`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4", options=options) as container:
        streams = [
            container.add_stream("aac", rate=rate, layout="stereo", bit_rate=256000)
            for _ in audio
        ]
        for start in range(0, len(audio[0]), 1024):
            for stream, stereo in zip(streams, audio):
                part = stereo[start : start + 1024].T.astype(np.float32)
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(part), format="fltp", layout="stereo"
                )
                frame.sample_rate, frame.pts = rate, start
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())


def tones(rate=44100, seconds=0.5):
    """Five stereo signals, each with a frequency of its own."""
    time = np.arange(int(seconds * rate)) / rate
    tone = [0.2 * np.sin(2 * np.pi * 500 * (k + 1) * time) for k in range(5)]
    return [np.stack([one, -one / 2], axis=1) for one in tone]


def test_decoded_stems_are_the_streams(tmp_path):
    source, target = tmp_path / "stems", tmp_path / "wav"
    write_stem_file(source / "train" / "A - B.stem.mp4", tones())
    write_stem_file(source / "test" / "C.stem.mp4", tones())
    assert decode_stems.main([str(source), str(target)]) == 0
    assert sorted(path.name for path in target.iterdir()) == ["test", "train"]
    folder = target / "train" / "A - B"
    assert sorted(path.stem for path in folder.iterdir()) == sorted(["mixture", *STEMS])
    order = ("mixture", "drums", "bass", "other", "vocals")
    for stem, expected in zip(order, tones()):
        audio, rate = soundfile.read(str(folder / f"{stem}.wav"))
        assert rate == 44100
        # AAC is lossy, but neither late nor short by more than its frame's padding.
        kept = slice(4096, 16384)
        np.testing.assert_allclose(audio[kept], expected[kept], atol=0.02)
        assert abs(len(audio) - len(expected)) <= 1024


def test_decoding_skips_what_is_there_and_goes_on_after_errors(tmp_path, caplog):
    source, target = tmp_path / "stems", tmp_path / "wav"
    write_stem_file(source / "train" / "good.stem.mp4", tones())
    write_stem_file(source / "train" / "four.stem.mp4", tones()[:4])
    (source / "train" / "bad.stem.mp4").write_text("no stem file")
    (target / "train" / "done").mkdir(parents=True)
    shutil.copy(source / "train" / "good.stem.mp4", source / "train" / "done.stem.mp4")
    assert decode_stems.main([str(source), str(target)]) == 1
    folders = sorted(path.name for path in (target / "train").iterdir())
    assert folders == ["done", "good"]
    assert list((target / "train" / "done").iterdir()) == []
    errors = [record.message for record in caplog.records]
    assert [error for error in errors if "bad.stem.mp4: cannot be decoded" in error]
    (four,) = [error for error in errors if "four.stem.mp4" in error]
    assert four.endswith(
        "expected 5 audio streams (mixture, drums, bass, other, vocals), got 4"
    )
    assert all("\n" not in error for error in errors)


def test_decoding_passes_over_what_other_programs_left(tmp_path, caplog):
    source, target = tmp_path / "stems", tmp_path / "wav"
    write_stem_file(source / "train" / "good.stem.mp4", tones())
    whole = (source / "train" / "good.stem.mp4").read_bytes()
    (source / "train" / "._good.stem.mp4").write_bytes(b"\0\5\26\7" * 50)
    for name in ("@eaDir", "__MACOSX"):
        (source / "train" / name).mkdir()
        (source / "train" / name / "good.stem.mp4").write_bytes(whole)
    assert decode_stems.main([str(source), str(target)]) == 0
    assert [path.name for path in (target / "train").iterdir()] == ["good"]
    # Training passes them over, too.
    (target / "train" / "@eaDir").mkdir()
    assert cache.track_names(target / "train") == ["good"]


def test_a_damaged_stem_file_is_named(tmp_path, caplog):
    path = tmp_path / "stems" / "train" / "a.stem.mp4"
    write_stem_file(path, tones(seconds=5), movflags="+faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert decode_stems.main([str(tmp_path / "stems"), str(tmp_path / "wav")]) == 1
    (line,) = [r.message for r in caplog.records if r.levelname == "ERROR"]
    assert "a.stem.mp4" in line
    assert not list((tmp_path / "wav" / "train").iterdir())


def test_decoding_into_a_file_says_so(tmp_path, caplog):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.stem.mp4").write_bytes(b"")
    (tmp_path / "wav").write_text("a file")
    assert decode_stems.main([str(tmp_path), str(tmp_path / "wav")]) == 2
    assert "wav: expected a folder or nothing there, got a file" in caplog.text


def test_decoding_nothing_says_so(tmp_path, caplog):
    assert decode_stems.main([str(tmp_path), str(tmp_path / "wav")]) == 2
    assert "expected train/*.stem.mp4" in caplog.text
