"""Instruments computed from formulas, drawn anew for each song.

Sound banks are few, and a network that heard one bass for an hour knows that bass.
Oscillators, frequency modulation, plucked strings and synthetic drums with random
settings give a different instrument to each song that uses them. Rates are in Hz.

References:
    Karplus and Strong, "Digital Synthesis of Plucked-String and Drum Timbres", 1983.
    Valimaki and Huovilainen, "Antialiasing Oscillators in Subtractive Synthesis",
    2007 (the polynomial correction of the sawtooth's step).
"""

from __future__ import annotations

import dataclasses
import random

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from corpus.scores import Event, is_onset
from corpus.sources import RATE

RELEASE = 0.08  # seconds that a note sounds on after its end


@dataclasses.dataclass(frozen=True)
class Note:
    """A note: start and length in seconds, MIDI pitch and velocity."""

    start: float
    length: float
    pitch: int
    velocity: int


@dataclasses.dataclass(frozen=True)
class Patch:
    """Settings of one instrument; times in seconds, `dark` in Hz."""

    kind: str
    detune: float
    width: float
    ratio: float
    index: float
    attack: float
    decay: float
    sustain: float
    dark: float
    sweep: float
    octave: int


def draw_patch(rng: random.Random, stem: str) -> Patch:
    """Draws an instrument for the bass or for the rest."""
    low = stem == "bass"
    return Patch(
        kind=rng.choice(("saw", "square", "sub", "fm", "pluck", "pluck")),
        detune=rng.choice((0.0, rng.uniform(0.001, 0.008))),
        width=rng.uniform(0.15, 0.5),
        ratio=rng.choice((0.5, 1.0, 1.0, 2.0, 3.0, 1.41, 7.0)),
        index=rng.uniform(0.5, 5.0),
        attack=rng.choice((0.002, 0.005, 0.01, 0.01 if low else 0.15)),
        decay=rng.uniform(0.08, 1.5),
        sustain=rng.choice((0.0, rng.uniform(0.2, 0.9))),
        dark=rng.uniform(150, 700) if low else rng.uniform(400, 2500),
        sweep=rng.uniform(0.0, 1.0),
        octave=rng.choice((0, 0, 0, -12 if not low else 12)),
    )


def notes_of(events: list[Event], seconds: float) -> list[Note]:
    """Pairs note-ons with their note-offs."""
    open_notes: dict[tuple[int, int], tuple[float, int]] = {}
    notes = []
    for event in events:
        message = event.message
        if not message.type.startswith("note") or event.time >= seconds:
            continue
        key = (message.channel, message.note)
        if key in open_notes:
            start, velocity = open_notes.pop(key)
            length = max(event.time - start, 0.03)
            notes.append(Note(start, length, message.note, velocity))
        if is_onset(message):
            open_notes[key] = (event.time, message.velocity)
    for (_, pitch), (start, velocity) in open_notes.items():
        notes.append(Note(start, min(1.0, seconds - start), pitch, velocity))
    return sorted(notes, key=lambda note: (note.start, note.pitch))


def sawtooth(phase: np.ndarray, step: float) -> np.ndarray:
    """A sawtooth with its step rounded against aliasing.

    The phase is in periods, from 0 to 1, the step in periods per sample.
    """
    y = 2 * phase - 1
    early, late = phase < step, phase > 1 - step
    u = phase[early] / step
    y[early] -= 2 * u - u * u - 1
    u = (phase[late] - 1) / step
    y[late] -= u * u + 2 * u + 1
    return y


def tone(
    patch: Patch, hertz: float, count: int, noise: np.random.Generator, rate: int
) -> np.ndarray:
    """One note without its envelope, float64 (count,)."""
    time = np.arange(count) / rate
    if patch.kind == "pluck":
        period = max(2, round(rate / hertz))
        burst = np.zeros(count)
        burst[:period] = noise.uniform(-1, 1, period)[:count]
        burst = lfilter([1 - patch.width], [1, -patch.width], burst)
        string = np.zeros(period + 2)
        string[0], string[period], string[period + 1] = 1, -0.498, -0.498
        return lfilter([1], string, burst)
    if patch.kind == "fm":
        strength = patch.index * np.exp(-time / patch.decay)
        modulator = np.sin(2 * np.pi * hertz * patch.ratio * time)
        return np.sin(2 * np.pi * hertz * time + strength * modulator)
    if patch.kind == "sub":
        y = np.sin(2 * np.pi * hertz * time)
        return y + 0.3 * patch.width * np.sin(4 * np.pi * hertz * time)
    y = np.zeros(count)
    for detune in {0.0, patch.detune}:
        step = min(hertz * (1 + detune) / rate, 0.45)
        phase = (step * np.arange(count) + detune * 50) % 1
        y += sawtooth(phase, step)
        if patch.kind == "square":
            y -= sawtooth((phase + patch.width) % 1, step)
    return y


def play_patch(
    events: list[Event], rng: random.Random, stem: str, seconds: float, rate: int
) -> np.ndarray:
    """Plays the notes of a stem on one drawn instrument, at no particular level.

    Returns float64 (seconds * rate,).
    """
    patch, length = draw_patch(rng, stem), int(seconds * rate)
    noise = np.random.default_rng(rng.randrange(1 << 30))
    y = np.zeros(length)
    dark = butter(2, patch.dark, fs=rate, output="sos")
    for note in notes_of(events, seconds):
        at = int(note.start * rate)
        count = min(int((note.length + RELEASE) * rate), length - at, 8 * rate)
        if count < 32:
            continue
        hertz = 440 * 2 ** ((note.pitch + patch.octave - 69) / 12)
        raw = tone(patch, min(hertz, 3500.0), count, noise, rate)
        time = np.arange(count) / rate
        fall = np.exp(-time / patch.decay)
        if patch.kind in ("saw", "square", "fm"):  # bright at first, then darker
            closed = sosfilt(dark, raw)
            raw = closed + (raw - closed) * patch.sweep * fall
        level = patch.sustain + (1 - patch.sustain) * fall
        level = level * np.minimum(1, time / patch.attack)
        end = np.clip((note.length - time) / RELEASE + 1, 0, 1)
        y[at : at + count] += raw * level * end * (note.velocity / 127) ** 1.3
    return y


def burst(
    seconds: float,
    fall: float,
    band: tuple[float, float],
    noise: np.random.Generator,
    rate: int,
) -> np.ndarray:
    """Filtered noise that falls by 1/e in `fall` seconds; `band` in Hz (low, high)."""
    count = int(seconds * rate)
    shape = butter(2, band, "bandpass", fs=rate, output="sos")
    y = sosfilt(shape, noise.normal(size=count))
    return y * np.exp(-np.arange(count) / rate / fall)


def knock(low: float, high: float, bend: float, fall: float, rate: int) -> np.ndarray:
    """A sine that slides from `high` to `low` Hz, as a struck skin does."""
    time = np.arange(int(min(8 * fall, 2.0) * rate)) / rate
    hertz = low + (high - low) * np.exp(-time / bend)
    y = np.sin(2 * np.pi * np.cumsum(hertz) / rate)
    return y * np.exp(-time / fall)


def synthetic_kit(rng: random.Random, rate: int) -> dict[str, list[np.ndarray]]:
    """Draws an electronic drum kit: hits by kind, each with a peak of 1."""
    noise = np.random.default_rng(rng.randrange(1 << 30))
    top = 7800 if rate == RATE else 16000
    low = rng.uniform(38, 65)
    kick = knock(
        low, rng.uniform(90, 350), rng.uniform(0.01, 0.05), rng.uniform(0.07, 0.4), rate
    )
    click = burst(0.02, 0.003, (800, 6000), noise, rate)
    kick[: len(click)] += rng.uniform(0, 0.6) * click
    body = knock(
        rng.uniform(150, 240),
        rng.uniform(260, 420),
        0.01,
        rng.uniform(0.05, 0.15),
        rate,
    )
    wires = burst(
        0.6, rng.uniform(0.04, 0.16), (rng.uniform(500, 1800), top - 300), noise, rate
    )
    wires[: len(body)] += rng.uniform(0.2, 1.5) * body[: len(wires)]
    bright = (rng.uniform(3500, 6000), top)
    toms = [
        knock(hertz, 1.7 * hertz, 0.03, rng.uniform(0.1, 0.25), rate)
        for hertz in (rng.uniform(75, 110), rng.uniform(120, 170))
    ]
    kit = {
        "kick": [kick],
        "snare": [wires],
        "hat": [
            burst(0.5, fall, bright, noise, rate)
            for fall in (rng.uniform(0.01, 0.05), rng.uniform(0.05, 0.2))
        ],
        "crash": [burst(2.5, rng.uniform(0.3, 0.8), (2000, top), noise, rate)],
        "ride": [burst(1.0, rng.uniform(0.1, 0.3), (3000, top), noise, rate)],
        "tom": toms,
    }
    return {
        kind: [hit / np.abs(hit).max() for hit in hits] for kind, hits in kit.items()
    }
