"""Tests of the labelling of songs, with stand-ins for the teacher."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile

pytest.importorskip("av", reason="needs requirements-corpus.txt")
DATA = pathlib.Path(__file__).parents[1] / "data"
sys.path.insert(0, str(DATA))

import label_songs  # noqa: E402
import songs  # noqa: E402
import teachers  # noqa: E402

# The vocals of the stand-ins are the left channel, on both sides.
TEACHER = """
import pathlib, sys
import soundfile
mixture, rate = soundfile.read(sys.argv[1], always_2d=True)
with pathlib.Path(__file__).with_name("calls").open("a") as file:
    file.write(f"{mixture.shape} {rate}\\n")
soundfile.write(sys.argv[2], mixture[:, [0, 0]], rate, subtype="FLOAT")
"""


@pytest.fixture
def folder(tmp_path, rng):
    """Songs of three formats and lengths, in noise, among things that are no songs."""
    folder = tmp_path / "songs"
    (folder / "album" / "@eaDir").mkdir(parents=True)
    for name, seconds, rate, channels in (
        ("Somebody - Long.flac", 12.5, 44100, 2),
        ("album/short.ogg", 6.0, 32000, 1),
        ("Held out.wav", 5.0, 48000, 2),
    ):
        noise = rng.normal(0, 0.1, (int(seconds * rate), channels))
        soundfile.write(folder / name, noise, rate)
    for name in ("notes.txt", "._Held out.wav", "album/@eaDir/short.ogg"):
        (folder / name).write_bytes(b"\0\5\26\7" * 50)
    return folder


@pytest.fixture
def about(tmp_path):
    """What is known of them."""
    path = tmp_path / "about.csv"
    path.write_text(
        "file,split,artist,title,licence,source\n"
        "Held*,validation,Someone,A title,CC BY 4.0,a place\n"
    )
    return path


@pytest.fixture
def teacher(tmp_path):
    """A stand-in as a command; it counts how often it is asked."""
    path = tmp_path / "teacher.py"
    path.write_text(TEACHER)
    return path


def label(folder, out, about, teacher, *more):
    if isinstance(teacher, pathlib.Path):
        teacher = f"{sys.executable} {teacher}"
    arguments = [str(folder), str(out), "--about", str(about), "--teacher", teacher]
    return label_songs.main([*arguments, "--seconds", "6", *more])


def read(piece):
    return {
        stem: soundfile.read(piece / f"{stem}.wav", dtype="int16")[0].astype(int)
        for stem in label_songs.STEMS
    }


def test_songs_become_a_data_set_in_pieces(folder, about, teacher, tmp_path):
    out = tmp_path / "out"
    assert label(folder, out, about, teacher) == 0
    assert sorted(str(p.relative_to(out)) for p in out.glob("*/*")) == [
        "train/Somebody - Long-01",
        "train/Somebody - Long-02",
        "train/album - short-01",
        "validation/Held out-01",
    ]
    for piece in out.glob("*/*"):
        assert {path.name for path in piece.iterdir()} == {
            "mixture.wav", "vocals.wav", "accompaniment.wav", "song.json"
        }  # fmt: skip
        stems = read(piece)
        np.testing.assert_array_equal(
            stems["vocals"] + stems["accompaniment"], stems["mixture"]
        )
        info = soundfile.info(piece / "mixture.wav")
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    # 12.5 s are two pieces of 6.25 s, and nothing is left over.
    assert [len(read(p)["mixture"]) for p in sorted(out.glob("train/Some*"))] == [
        100000,
        100000,
    ]
    record = json.loads((out / "validation/Held out-01/song.json").read_text())
    assert {key: record[key] for key in ("artist", "title", "licence", "source")} == {
        "artist": "Someone",
        "title": "A title",
        "licence": "CC BY 4.0",
        "source": "a place",
    }
    assert "teacher.py" in record["teacher"]


def test_stems_are_in_time_with_the_song(folder, about, teacher, tmp_path):
    assert label(folder, tmp_path / "out", about, teacher, "--stereo") == 0
    song, rate = soundfile.read(folder / "Somebody - Long.flac")
    for k, piece in enumerate(sorted((tmp_path / "out/train").glob("Some*"))):
        part = song[k * len(song) // 2 :][: len(song) // 2]
        mixture, its_rate = soundfile.read(piece / "mixture.wav")
        vocals, _ = soundfile.read(piece / "vocals.wav")
        assert its_rate == rate == 44100
        np.testing.assert_allclose(mixture, part, atol=2 / 32768)
        np.testing.assert_allclose(vocals, part[:, [0, 0]], atol=2 / 32768)


def test_finished_pieces_are_kept_and_the_teacher_is_not_asked_again(
    folder, about, teacher, tmp_path
):
    out, calls = tmp_path / "out", teacher.with_name("calls")
    assert label(folder, out, about, teacher) == 0
    assert len(calls.read_text().splitlines()) == 3
    kept, missing = sorted(out.glob("train/Some*"))
    before = read(missing)
    (kept / "vocals.wav").write_bytes(b"mine")
    for path in missing.iterdir():
        path.unlink()
    missing.rmdir()
    assert label(folder, out, about, teacher) == 0
    assert len(calls.read_text().splitlines()) == 4  # for the song with a gap
    assert (kept / "vocals.wav").read_bytes() == b"mine"
    for stem, samples in read(missing).items():
        np.testing.assert_array_equal(samples, before[stem])


def test_pieces_made_otherwise_are_told_and_kept(
    folder, about, teacher, tmp_path, capsys
):
    out = tmp_path / "out"
    assert label(folder, out, about, teacher) == 0
    before = sorted(out.glob("*/*"))
    capsys.readouterr()
    held_out = about.read_text()
    for table, options, told in (
        ("file,split\nHeld*,train\n", [], ["validation/Held out-01: this song is to"]),
        (held_out, ["--seconds", "12"], ["train/Somebody - Long-01: made"]),
        (
            held_out,
            ["--stereo"],
            ["Held out-01: made", "Long-01: made", "short-01: made"],
        ),
    ):
        about.write_text(table)
        assert label(folder, out, about, teacher, *options) == 1
        text = capsys.readouterr().err
        lines = [line for line in text.splitlines() if line.startswith("error")]
        assert len(lines) == len(told)
        assert all(part in line for part, line in zip(told, lines))
        assert sorted(out.glob("*/*")) == before


def test_a_loud_song_is_made_quieter_so_that_nothing_clips():
    mixture = np.array([[1.2], [-0.3]], np.float32)
    stems = label_songs.quantised(mixture, np.array([[-0.6], [0.0]], np.float32))
    # The accompaniment is the loudest, 1.8: it becomes 0.99 of full scale.
    scale = 0.99 / 1.8 * 32767
    for stem, expected in zip(label_songs.STEMS, ([1.2, -0.3], [-0.6, 0], [1.8, -0.3])):
        np.testing.assert_allclose(
            stems[stem][:, 0], np.array(expected) * scale, atol=1
        )


def test_a_function_teaches(folder, about, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_to_teach.py").write_text("def half(x):\n    return x / 2\n")
    assert label(folder, tmp_path / "out", about, "mine_to_teach:half") == 0
    stems = read(tmp_path / "out/train/album - short-01")
    np.testing.assert_allclose(2 * stems["vocals"], stems["mixture"], atol=2)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('too long')", "failed: ValueError('too long')"),
        ("return x * float('nan')", "expected finite samples"),
        ("return x[1:]", "expected vocals (frames, channels)"),
    ],
)
def test_a_function_that_fails_is_named(
    body, said, folder, about, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine_to_fail", raising=False)
    (tmp_path / "mine_to_fail.py").write_text(f"def split(x):\n    {body}\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert label(folder, tmp_path / "out", about, "mine_to_fail:split") == 1
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert len(errors) == 3
    assert all(said in line for line in errors)


def test_a_song_of_no_sound_is_named(folder, about, teacher, tmp_path, capsys):
    soundfile.write(folder / "data.wav", np.full((9, 2), 3e38), 44100, "FLOAT")
    assert label(folder, tmp_path / "out", about, teacher) == 1
    assert "data.wav: expected samples of at most 1e+10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit('no memory')", "failed: no memory"),
        ("pass", "wrote no vocals"),
        (
            TEACHER.replace("mixture[:, [0, 0]]", "mixture[1:]"),
            "expected vocals (frames, channels)",
        ),
        (TEACHER.replace("rate, sub", "rate // 2, sub"), "expected vocals at 44100 Hz"),
    ],
)
def test_a_teacher_that_fails_is_named_and_leaves_nothing(
    program, said, folder, about, teacher, tmp_path, capsys
):
    teacher.write_text(program)
    out = tmp_path / "out"
    assert label(folder, out, about, teacher) == 1
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert len(errors) == 3
    assert all(said in line for line in errors)
    assert not list(out.glob("*/*"))


def test_a_broken_song_does_not_stop_the_others(
    folder, about, teacher, tmp_path, capsys
):
    whole = (folder / "Somebody - Long.flac").read_bytes()
    (folder / "Somebody - Long.flac").write_bytes(whole[:9000])
    label(folder, tmp_path / "out", about, teacher)
    assert (tmp_path / "out/validation/Held out-01").is_dir()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name,split\nx,train\n", "expected the columns file"),
        ("file,split\nx,training\n", "expected the split train, validation, test"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(
    table, said, folder, about, teacher, tmp_path, capsys
):
    about.write_text(table)
    assert label(folder, tmp_path / "out", about, teacher) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_teacher_that_is_missing_is_one_line(folder, about, tmp_path, capsys):
    assert label(folder, tmp_path / "out", about, "no-such-program --x") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "make teacher" in line


def test_songs_of_one_name_are_told(folder, about, teacher, tmp_path, capsys):
    (folder / "Held out.flac").write_bytes((folder / "Held out.wav").read_bytes())
    assert label(folder, tmp_path / "out", about, teacher) == 2
    assert "rename one of them" in capsys.readouterr().err


def test_the_shipped_table_keeps_two_whole_songs_apart():
    rows = songs.read_table(DATA / "songs.csv")
    held_out = {row["artist"] for row in rows if row["split"] == "validation"}
    assert held_out == {"Joshua Morin", "Los Rombos"}
    assert all(row["licence"].startswith("CC BY") and row["source"] for row in rows)


def test_borders_divide_a_song_evenly():
    assert label_songs.borders(100, 30) == [0, 33, 67, 100]
    assert label_songs.borders(10, 30) == [0, 10]


def test_commands_are_told_from_functions():
    assert isinstance(teachers.find(f"{sys.executable} a:b"), teachers.Command)
    assert teachers.find("math:sqrt").vocals is not None


@pytest.mark.parametrize("missing", ["pyworld", "mido", "fluidsynth"])
def test_the_maker_without_its_python_packages_is_one_line(missing, tmp_path):
    program = (
        f"import importlib.util, sys, types\n"
        f"sys.path[:0] = [{str(DATA)!r}, {str(DATA.parent)!r}]\n"
        "for name in ('pyworld', 'mido', 'fluidsynth'):\n"  # the others as if they were
        "    if importlib.util.find_spec(name) is None:\n"
        "        sys.modules[name] = types.ModuleType(name)\n"
        f"sys.modules[{missing!r}] = None\n"  # as if it were not installed
        f"import make_corpus\n"
        f"sys.exit(make_corpus.main([{str(tmp_path / 'out')!r}, '--count', '1']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert missing in line
    assert "make corpus-packages" in line
    assert not (tmp_path / "out").exists()
