"""Recorded instruments: which there are, and what they play in a song.

They serve the training songs alone, so that test songs stay what they were.
"""

from __future__ import annotations

import dataclasses
import pathlib
import random
from collections.abc import Sequence

import numpy as np

from corpus import mix, sampler
from corpus.render import GM_DRUMS
from corpus.scores import Event, is_onset
from corpus.synth import Note, notes_of
from util import UserError


@dataclasses.dataclass(frozen=True)
class Instrument:
    """A program of a recorded instrument."""

    file: str  # SFZ file within the folder of instruments
    low: int  # lowest pitch that sounds natural
    high: int  # highest one
    # Keys that a pitch lies above its own: a bass may be mapped as written
    shift: int = 0
    # Where controllers stand, other than the file sets them
    controllers: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Take:
    """Where the recordings of all instruments lie, and what is made of them."""

    folder: pathlib.Path
    seconds: float
    rate: int  # Hz


GROWLY, RUBNER = "growlybass/growlybass_", "double-bass/d_smolken_rubner_bass_"
MEAT, SHINY = "meatbass/Programs/", "shinyguitar/Programs/"
BASSES = {
    **{
        f"growlybass {kind}": Instrument(f"{GROWLY}{kind}.sfz", 24, 60, 12)
        for kind in ("clean", "dirty", "angry", "excessive")
    },
    "rubner pizzicato": Instrument(f"{RUBNER}pizz.sfz", 24, 57),
    "rubner arco": Instrument(f"{RUBNER}arco.sfz", 24, 57),
    "meatbass pizzicato": Instrument(f"{MEAT}04_pizz.sfz", 22, 57),
    "meatbass arco": Instrument(f"{MEAT}02_arco_3vel.sfz", 22, 57),
}
# Plucked ones are what most songs have.
BASS_WEIGHTS = (4, 3, 2, 2, 3, 1, 3, 1)
GUITARS = {
    "emilyguitar clean": Instrument("emilyguitar/emily_clean.sfz", 34, 84),
    "emilyguitar": Instrument("emilyguitar/emily_basic.sfz", 34, 84),
    "shinyguitar electric": Instrument(f"{SHINY}main.sfz", 34, 84),
    "shinyguitar acoustic": Instrument(
        f"{SHINY}main.sfz", 34, 84, controllers=((100, 127),)
    ),
}
SAXOPHONE = Instrument("weresax/Programs/Sax.sfz", 49, 80)
GOGODZE = "gogodze-phu-vol-i/Programs/"
PERCUSSION = {
    "cajon": Instrument(f"{GOGODZE}Cajon.sfz", 36, 72),
    "bobobo": Instrument(f"{GOGODZE}Bobobo.sfz", 36, 72),
}
# How often a training song has them.
BASS_SHARE, GUITAR_SHARE, SAXOPHONE_SHARE, PERCUSSION_SHARE = 1 / 2, 1 / 3, 0.1, 0.15


def programs() -> list[Instrument]:
    """All programs of all instruments."""
    return [*BASSES.values(), *GUITARS.values(), SAXOPHONE, *PERCUSSION.values()]


def check(folder: pathlib.Path) -> None:
    """Looks whether the recorded instruments are there; a UserError if not."""
    for program in programs():
        if not (folder / program.file).is_file():
            raise UserError(
                f"{folder}: expected the recorded instruments that data/CORPUS.md "
                f"lists, got no {program.file}"
            )


def fold(pitch: int, instrument: Instrument) -> int:
    """A pitch moved by octaves into what an instrument plays."""
    while pitch < instrument.low:
        pitch += 12
    while pitch > instrument.high:
        pitch -= 12
    return pitch


def perform(
    notes: Sequence[Note], instrument: Instrument, take: Take, rng: random.Random
) -> np.ndarray:
    """Plays notes on an instrument; see `sampler.play`."""
    force = rng.uniform(0.75, 1.15)  # some play softly, some hard
    played = [
        dataclasses.replace(
            note,
            pitch=fold(note.pitch, instrument) + instrument.shift,
            velocity=min(127, max(1, round(note.velocity * force))),
        )
        for note in notes
    ]
    return sampler.play(
        played,
        take.folder / instrument.file,
        rng,
        take.seconds,
        take.rate,
        controllers=instrument.controllers,
    )


def draw_bass(
    rng: random.Random, events: list[Event], take: Take
) -> tuple[str, np.ndarray] | None:
    """Draws whether a song has a recorded bass, and plays it: what on, and how."""
    if rng.random() >= BASS_SHARE:
        return None
    name = rng.choices(list(BASSES), BASS_WEIGHTS)[0]
    notes = notes_of(events, take.seconds)
    return name, perform(notes, BASSES[name], take, rng)


def draw_lead(
    rng: random.Random, events: list[Event], take: Take
) -> tuple[str, np.ndarray, list[Event]] | None:
    """Draws whether a guitar or a saxophone is recorded, and plays it.

    The guitar takes over a channel that has a guitar in the score, or a drawn one; the
    saxophone a drawn one, of which it plays the highest notes. Returns what on, the
    waveform, and the events that are left for others; None for a song that has neither.
    """
    choice = rng.random()
    if choice >= GUITAR_SHARE + SAXOPHONE_SHARE:
        return None
    sounding, guitars, programs = set(), set(), {}
    for event in events:
        message = event.message
        if message.type == "program_change":
            programs[message.channel] = message.program
        elif is_onset(message) and event.time < take.seconds:
            sounding.add(message.channel)
            if 24 <= programs.get(message.channel, 0) < 32:  # General MIDI's guitars
                guitars.add(message.channel)
    if choice < GUITAR_SHARE:
        name = rng.choice(list(GUITARS))
        channel = rng.choice(sorted(guitars or sounding))
        instrument = GUITARS[name]
    else:
        name, instrument = "weresax", SAXOPHONE
        channel = rng.choice(sorted(sounding))
    mine = [event for event in events if event.message.channel == channel]
    notes = notes_of(mine, take.seconds)
    if instrument is SAXOPHONE:
        notes = highest(notes)
    rest = [event for event in events if event.message.channel != channel]
    return name, perform(notes, instrument, take, rng), rest


def highest(notes: Sequence[Note]) -> list[Note]:
    """One note at a time: the highest of those that begin together."""
    melody: list[Note] = []
    for note in sorted(notes, key=lambda note: (note.start, -note.pitch)):
        if melody and note.start - melody[-1].start < 0.05:
            continue
        if melody:
            length = min(melody[-1].length, note.start - melody[-1].start)
            melody[-1] = dataclasses.replace(melody[-1], length=length)
        melody.append(note)
    return melody


def blend(
    one: np.ndarray, other: np.ndarray, rng: random.Random, spread: float, rate: int
) -> np.ndarray:
    """Adds two waveforms of like level, the first drawn up or down by `spread` dB."""
    levels = [mix.active_rms(y, rate) if y.any() else 0.0 for y in (one, other)]
    if not all(levels):
        return one + other
    gain = 10 ** (rng.uniform(-spread, spread) / 20)
    return one / levels[0] * gain + other / levels[1]


def draw_percussion(
    rng: random.Random, events: list[Event], take: Take
) -> tuple[str, np.ndarray] | None:
    """Draws whether a song has recorded percussion, which plays what the drums do."""
    if rng.random() >= PERCUSSION_SHARE:
        return None
    name = rng.choice(list(PERCUSSION))
    instrument = PERCUSSION[name]
    keys = sampler.keys(take.folder / instrument.file, instrument.low, instrument.high)
    kinds = {kind: rng.choice(keys) for kind in sorted(set(GM_DRUMS.values()))}
    left_out = rng.choice(("kick", "hat", "snare", ""))  # nobody hits everything
    notes = []
    for event in events:
        if not is_onset(event.message) or event.time >= take.seconds:
            continue
        kind = GM_DRUMS.get(event.message.note, "hat")
        if kind != left_out:
            velocity = event.message.velocity
            notes.append(Note(event.time, 0.1, kinds[kind], velocity))
    return name, perform(notes, instrument, take, rng)
