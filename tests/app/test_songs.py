"""What visitors bring, and what becomes of it: no browser is needed."""

from __future__ import annotations

import os
import pathlib
import shlex
import time

import numpy as np
import pytest
import soundfile

from sswavenet.app import results, songs
from sswavenet.app.sessions import Sessions
from sswavenet.app.visits import UNCLAIMED, Visits
from sswavenet.sound.formats import Encoding
from tests.support import base_session, without_network, write_session
from util import UserError

RATE = 16000
FLAC_24 = ("--format", "flac", "--subtype", "PCM_24")


@pytest.fixture
def session(tmp_path):
    """The folder of a tiny session."""
    write_session(tmp_path / "tiny", *base_session("multi-instrument"))
    return str(tmp_path / "tiny")


@pytest.fixture
def visits(tmp_path):
    (tmp_path / "kept").mkdir()
    with visits_in(tmp_path / "kept") as visits:
        yield visits


def visits_in(folder):
    return Visits(folder)


def bring(visits, visit, name="my song.wav", seconds=1.0):
    """Upload a song as the server does, and choose it."""
    folder = visits.new_folder()
    path = folder / f"song{songs.known_extension(name)}"
    noise = np.random.default_rng(5).standard_normal((int(seconds * RATE), 2))
    soundfile.write(path, 0.1 * noise, RATE, format="WAV")
    visits.offer(folder, name)
    assert visits.claim(path) == name
    visit.song = songs.check_song(path, name, max_seconds=60)
    return visit.song


def begin(visit, session, encoding=Encoding(), max_seconds=60.0):  # noqa: B008
    offered = Sessions([session])
    return visit.begin(session, encoding, sessions=offered, max_seconds=max_seconds)


def finish(job):
    assert job.wait(60)
    return job


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("song.mp3", "song.mp3"),
        ("../../etc/passwd", "passwd"),
        ("C:\\music\\song.wav", "song.wav"),
        ("a\nb\0c\u202e.wav", "abc.wav"),
        ("", "song"),
        ("/", "song"),
        (".wav", "song.wav"),
        ("x" * 500 + ".flac", "x" * 120 + ".flac"),
        ("no extension", "no extension"),
        ("x." + "y" * 500, "x." + "y" * 12),
    ],
)
def test_a_name_is_cleaned_for_showing(name, expected):
    assert songs.clean_name(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("song.MP3", ".mp3"),
        ("video.mp4", ".mp4"),
        ("x.sh", ""),
        ("x.wav/../../y", ""),
        ("x.wav\0", ""),
        ("m3u8", ""),
        ("list.m3u8", ""),
    ],
)
def test_only_extensions_of_audio_become_part_of_a_path(name, expected):
    assert songs.known_extension(name) == expected


def test_a_song_is_described(tmp_path):
    path = tmp_path / "x"
    soundfile.write(path, np.zeros((3 * 44100 + 1, 2)), 44100, format="WAV")
    song = songs.check_song(path, "folder/My <song>.wav", max_seconds=60)
    assert (song.name, song.title) == ("My <song>.wav", "My <song>")
    assert song.description == "0:03, 44.1 kHz, stereo"
    shown = results.describe(song)
    assert "<b>My &lt;song&gt;.wav</b>" in shown


def test_a_refusal_names_the_song_and_not_where_it_lies(tmp_path):
    path = tmp_path / "song.mp3"
    path.write_text("nothing")
    with pytest.raises(UserError) as caught:
        songs.check_song(path, "mine.mp3", max_seconds=60)
    assert str(caught.value).startswith("mine.mp3: expected an audio file")
    assert str(tmp_path) not in str(caught.value)
    assert "&lt;b&gt;" in results.problem("<b>")


@pytest.mark.parametrize(
    ("name", "encoding", "expected"),
    [
        ("a.wav", Encoding(), ["a.wav", "--session", "s"]),
        ("-x.wav", Encoding(), ["./-x.wav", "--session", "s"]),
        (
            "it's $(ls).wav",
            Encoding("flac", "PCM_24"),
            ["it's $(ls).wav", "--session", "s", *FLAC_24],
        ),
        ("a", Encoding("mp3"), ["a", "--session", "s", "--format", "mp3"]),
    ],
)
def test_the_command_line_is_quoted(name, encoding, expected):
    song = songs.Song(pathlib.Path("x"), name, "")
    line = results.command_line(song, "s", encoding)
    assert shlex.split(line)[2:] == expected


@pytest.mark.parametrize("encoding", [Encoding(), Encoding("flac", "PCM_24")])
def test_stems_are_those_of_the_command_line(encoding, session, visits, tmp_path):
    visits.begin("key")
    visit = visits.get("key")
    with without_network() as main:
        song = bring(visits, visit)
        job = finish(begin(visit, session, encoding))
        assert (job.error, job.fraction) == ("", 1.0)
        mine = tmp_path / song.name
        mine.write_bytes(song.path.read_bytes())
        words = [
            str(mine),
            "--session",
            session,
            "--output_path",
            str(tmp_path / "out"),
        ]
        words += ["--format", encoding.form, "--subtype", encoding.subtype]
        assert main(words) == 0
    expected = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    stems = {
        job.download_name(name): path.read_bytes()
        for name, path in job.paths().items()
        if name != "mixture.wav"
    }
    assert stems == expected
    shown = results.results(job)
    assert shown.count("<audio") == 5
    assert all(f"stems/{job.token}/{name}" in shown for name in job.paths())


def test_tags_of_a_song_without_a_title_name_it(visits, session, tmp_path):
    av = pytest.importorskip("mutagen.flac")
    visits.begin("key")
    visit = visits.get("key")
    with without_network():
        song = bring(visits, visit, "hers.flac")
        samples, rate = soundfile.read(song.path)
        soundfile.write(song.path, samples, rate, format="FLAC")
        tagged = av.FLAC(song.path)
        tagged["artist"] = "She"
        tagged.save()
        job = finish(begin(visit, session, Encoding("flac")))
    path = job.paths()["vocals.flac"]
    assert av.FLAC(path)["title"] == ["hers (vocals)"]


def test_nothing_is_left_of_a_visit(visits, session, tmp_path):
    visits.begin("key")
    visit = visits.get("key")
    with without_network():
        bring(visits, visit)
        job = finish(begin(visit, session))
        assert visits.job(job.token) is job
        visits.leave("key")
    assert visits.job(job.token) is None
    assert visits.get("key") is None
    assert [path for path in (tmp_path / "kept").rglob("*") if path.is_file()] == []
    with pytest.raises(UserError, match="expected a song first"):
        begin(visit, session)


def test_another_song_takes_the_place_of_the_first(visits, session, tmp_path):
    visits.begin("key")
    visit = visits.get("key")
    with without_network():
        first = bring(visits, visit)
        job = finish(begin(visit, session))
        bring(visits, visit, "second.wav")
        assert not first.path.exists()
        assert visits.job(job.token) is job, "what it became is there until the next"
        again = finish(begin(visit, session))
    assert not job.folder.exists()
    assert again.song.name == "second.wav"
    assert again.error == ""


def test_what_turns_out_to_be_too_long_is_stopped(visits, session):
    visits.begin("key")
    visit = visits.get("key")
    with without_network():
        bring(visits, visit, seconds=3)
        job = finish(begin(visit, session, max_seconds=1))
    assert job.error.startswith("my song.wav: expected at most 0:01 minutes")
    assert job.paths() == {}


def test_a_visitor_reads_what_each_session_is_for(session):
    labels = {name: label for label, name in Sessions([session]).labels.items()}
    assert labels.pop(session) == f"{session}: vocals, drums, bass, other"
    assert next(iter(labels)) == "multi-instrument-fast"
    assert labels == {
        f"{task}{end}": f"{task}{end}: {stems} ({purpose})"
        for task, stems in (
            ("multi-instrument", "vocals, drums, bass, other"),
            ("singing-voice", "vocals, accompaniment"),
        )
        for end, purpose in (
            ("", "songs of any kind, slow"),
            ("-fast", "real songs, quick"),
            ("-rendered", "rendered songs, speech"),
        )
    }


def test_a_session_that_is_not_offered_is_refused(visits, session):
    visits.begin("key")
    visit = visits.get("key")
    bring(visits, visit)
    offered = Sessions([session])
    job = visit.begin("/etc", Encoding(), sessions=offered, max_seconds=60)
    assert "expected one of" in finish(job).error


def test_a_fault_is_told_without_its_path(visits, session, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("sswavenet.app.jobs.separate_file", fail)
    visits.begin("key")
    visit = visits.get("key")
    with without_network():
        bring(visits, visit)
        job = finish(begin(visit, session))
    assert job.error == "No space left on device"


def test_an_upload_that_nobody_asks_for_is_removed(visits, monkeypatch):
    old = visits.new_folder()
    visits.offer(old, "old.wav")
    later = time.monotonic() + UNCLAIMED + 1
    monkeypatch.setattr("sswavenet.app.visits.time.monotonic", lambda: later)
    new = visits.new_folder()
    visits.offer(new, "new.wav")
    assert not old.exists()
    assert visits.claim(old / "song.wav") is None
    assert visits.claim(new / "song.wav") == "new.wav"
    assert visits.claim(new / "song.wav") is None, "it belongs to one page"
