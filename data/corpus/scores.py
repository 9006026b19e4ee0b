"""Scores: what the instruments of a song play, and the chords a singer follows.

Two sources: mma, which turns chords and a groove into MIDI, and the MIDI lumps of
freedoom. Both give events in seconds, each belonging to one stem.
"""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib
import random
import subprocess
import tempfile

import mido
import numpy as np

from corpus import sources
from util import UserError

PROGRESSIONS = (
    "1 5 6 4",
    "6 4 1 5",
    "1 6 4 5",
    "1 4 5 1",
    "2 5 1 6",
    "1 3 4 5",
    "6 5 4 5",
    "1 7b 4 1",
    "6 2 5 1",
    "4 5 3 6",
    "1 1 4 5",
    "6 7b 1 1",
    "4 1 5 6",
)
# Degree of the scale: semitones above the tonic, quality of its triad.
DEGREES = {
    "1": (0, ""),
    "2": (2, "m"),
    "3": (4, "m"),
    "4": (5, ""),
    "5": (7, ""),
    "6": (9, "m"),
    "7b": (10, ""),
}
KEYS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MINIMUM_NOTES = 12  # in each of the drums, the bass and the rest
ATTEMPTS = 12


class NoScoreError(UserError):
    """A source gave nothing usable; another draw may."""


@dataclasses.dataclass(frozen=True)
class Event:
    """A MIDI message at a time in seconds, for one stem."""

    time: float
    stem: str
    message: mido.Message


@dataclasses.dataclass(frozen=True)
class Chord:
    """A chord from a time in seconds on: root as pitch class, minor or not."""

    time: float
    root: int
    minor: bool


@dataclasses.dataclass(frozen=True)
class Score:
    """What a song plays."""

    names: tuple[str, ...]  # the grooves, or the score, that it was made from
    events: list[Event]  # in order of time
    chords: list[Chord]  # in order of time
    beat: float  # seconds


def run_mma(lines: list[str]) -> mido.MidiFile:
    """Runs mma on a song written as lines.

    Raises NoScoreError if mma refuses it, as it does some grooves with some chords.
    """
    program = sources.need_program("mma")
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "a.mma"), pathlib.Path(folder, "a.mid")
        source.write_text("\n".join(lines) + "\n")
        environment = {**os.environ, "PYTHONHASHSEED": "0", "HOME": folder}
        try:
            subprocess.run(
                [program, source, "-f", target],
                capture_output=True,
                timeout=60,
                env=environment,
            )
            return mido.MidiFile(target)
        except (OSError, EOFError, ValueError, subprocess.TimeoutExpired) as error:
            raise NoScoreError(f"mma made nothing of {lines[2]}") from error


def mma_score(rng: random.Random, seconds: float, split: str) -> Score:
    """Draws a chord progression and grooves of the split and has mma play them."""
    key, tempo = rng.randrange(12), rng.randint(66, 170)
    names = rng.choices(sources.grooves(split), k=2)
    change = rng.random() < 0.5
    bars = max(4, int(seconds * tempo / 240) + 1)
    parts = [rng.choice(PROGRESSIONS).split() for _ in range(2)]
    lines = [f"RndSeed {rng.randrange(1 << 30)}", f"Tempo {tempo}"]
    lines.append(f"Groove {names[0]}")
    chords = []
    for bar in range(bars):
        if bar == bars // 2 and change:
            lines.append(f"Groove {names[1]}")
        step, quality = DEGREES[parts[(bar // 8) % 2][bar % 4]]
        root = (step + key) % 12
        chords.append(Chord(bar * 240 / tempo, root, quality == "m"))
        seventh = "7" if rng.random() < 0.25 else ""
        lines.append(f"{bar + 1} {KEYS[root]}{quality}{seventh}")
    midi = run_mma(lines)
    tick = 60 / tempo / midi.ticks_per_beat
    events = []
    # By track name: some grooves play the bass on a program outside 32 to 39.
    for track in midi.tracks:
        stem = "other"
        for prefix in ("Drum", "Bass"):
            if track.name.startswith(prefix):
                stem = {"Drum": "drums", "Bass": "bass"}[prefix]
        now = 0
        for message in track:
            now += message.time
            if not message.is_meta and message.type != "sysex":
                events.append(Event(now * tick, stem, message))
    events.sort(key=lambda event: event.time)
    used = tuple(names) if change else (names[0],)
    return Score(used, events, chords, 60 / tempo)


def doom_scores(split: str) -> dict[str, bytes]:
    """The MIDI files of a split of freedoom's, by lump name."""
    return {
        name: lump
        for name, lump in sources.doom_lumps().items()
        if sources.split_of(name) == split
    }


def doom_score(rng: random.Random, seconds: float, split: str) -> Score:
    """Cuts a piece out of one of freedoom's scores of the split, transposed."""
    scores = doom_scores(split)
    name = rng.choice(sorted(scores))
    midi = mido.MidiFile(file=io.BytesIO(scores[name]))
    start = rng.uniform(0, max(0.0, midi.length - seconds))
    speed, transpose = rng.uniform(0.85, 1.18), rng.randint(-4, 5)
    programs: dict[int, int] = {}
    events, now = [], 0.0
    for message in midi:
        now += message.time
        if message.is_meta or message.type == "sysex":
            continue
        if message.type == "program_change":
            programs[message.channel] = message.program
        stem = "bass" if 32 <= programs.get(message.channel, 0) <= 39 else "other"
        stem = "drums" if message.channel == 9 else stem
        is_note = message.type.startswith("note")
        if is_note and stem != "drums":
            note = min(max(message.note + transpose, 0), 127)
            message = message.copy(note=note)
        if now > start + seconds * speed:
            break
        if now >= start or not is_note:  # earlier settings hold at the start
            events.append(Event(max(0.0, now - start) / speed, stem, message))
    chords = heard_chords(events, seconds)
    return Score((name,), events, chords, rng.uniform(0.35, 0.6))


def is_onset(message: mido.Message) -> bool:
    """A note-on of velocity 0 ends a note."""
    return message.type == "note_on" and message.velocity > 0


def heard_chords(events: list[Event], seconds: float) -> list[Chord]:
    """Guesses a chord for each 2 s from the pitch classes that begin there."""
    histogram = np.zeros((int(seconds / 2) + 1, 12))
    for event in events:
        if event.stem != "drums" and is_onset(event.message):
            step = min(int(event.time / 2), len(histogram) - 1)
            weight = 2 if event.stem == "bass" else 1
            histogram[step, event.message.note % 12] += weight
    return chords_of(histogram, 2.0)


def chords_of(histogram: np.ndarray, step: float) -> list[Chord]:
    """Fits a triad to each row of pitch-class weights, (steps, 12), from C on.

    Rows are `step` seconds apart.
    """
    triads = np.zeros((24, 12))
    for root in range(12):
        for minor in (0, 1):
            for tone, weight in ((0, 1.0), (3 if minor else 4, 0.7), (7, 0.8)):
                triads[2 * root + minor, (root + tone) % 12] = weight
    best = (histogram @ triads.T).argmax(axis=1)
    return [Chord(i * step, int(b) // 2, bool(b % 2)) for i, b in enumerate(best)]


def draw_score(rng: random.Random, kind: str, seconds: float, split: str) -> Score:
    """Draws a score of a kind ("mma" or "doom") whose stems all play.

    Raises NoScoreError if many draws in a row give none, which no installation does.
    """
    make = {"mma": mma_score, "doom": doom_score}[kind]
    for _ in range(ATTEMPTS):
        try:
            score = make(rng, seconds, split)
        except NoScoreError:
            continue
        stems = [
            event.stem
            for event in score.events
            if is_onset(event.message) and event.time < seconds
        ]
        if min(map(stems.count, sources.STEMS[1:])) >= MINIMUM_NOTES:
            return score
    raise NoScoreError(f"no usable {kind} score in {ATTEMPTS} draws")
