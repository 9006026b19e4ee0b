"""Vocals: speech turned into singing, and phrases as they were recorded.

Singing takes WORLD's frames of a phrase, stretches them onto notes of the chords and
gives them a new fundamental with glides and vibrato. A network that heard only that
would learn that a vocoder is a voice; so two songs in five hold recorded phrases.
"""

from __future__ import annotations

import random

import numpy as np
import pyworld

from corpus.scores import Chord
from corpus.sources import RATE
from corpus.voices import BINS, FFT, FRAME, Clip

QUIET = -27.0  # log power of an envelope frame in a rest


def tones_at(chords: list[Chord], time: float) -> set[int]:
    """Pitch classes of the chord that sounds at a time."""
    now = chords[0]
    for chord in chords:
        if chord.time > time:
            break
        now = chord
    return {(now.root + step) % 12 for step in ((0, 3, 7) if now.minor else (0, 4, 7))}


def stretch(clip: Clip, at: int, take: int, count: int) -> np.ndarray:
    """Spreads the frames at..at+take of a clip over `count` frames, as positions.

    Vowels are stretched, consonants keep their length.
    """
    voiced = clip.f0[at : at + take] > 0
    weight = np.cumsum(np.where(voiced, 1.0, 0.25))
    weight = (weight - weight[0]) / (weight[-1] - weight[0])
    return at + np.interp(np.linspace(0, 1, count), weight, np.arange(take))


class Melody:
    """Draws one pitch after the other: near the last one, mostly of the chord."""

    def __init__(self, rng: random.Random, clips: list[Clip], chords: list[Chord]):
        """Begins around the middle of the speaker's own range, or above it."""
        voiced = np.concatenate([clip.f0[clip.f0 > 0] for clip in clips])
        middle = round(69 + 12 * float(np.log2(np.median(voiced) / 440)))
        self.middle = middle + rng.randint(-2, 7)
        self.note = self.middle
        self.rng, self.chords = rng, chords

    def next(self, time: float) -> int:
        """The MIDI pitch of a note that begins at a time in seconds."""
        tones = tones_at(self.chords, time)
        notes = [
            note
            for note in range(self.middle - 8, self.middle + 11)
            if note % 12 in tones or self.rng.random() < 0.12
        ]
        weights = [np.exp(-abs(note - self.note) / 3) for note in notes]
        self.note = self.rng.choices(notes, weights)[0]
        return self.note


def pitch_curve(
    rng: random.Random, noise: np.random.Generator, note: int, count: int
) -> np.ndarray:
    """Fundamental in Hz over `count` frames: a glide into the note, then vibrato."""
    time = np.arange(count) * FRAME
    depth, speed = rng.uniform(0, 0.5), rng.uniform(4.8, 6.3)
    vibrato = depth * np.sin(2 * np.pi * speed * time + rng.uniform(0, 6))
    vibrato *= np.clip((time - 0.15) / 0.3, 0, 1)
    glide = rng.uniform(-2, 0.5) * np.exp(-time / rng.uniform(0.02, 0.08))
    drift = noise.normal(0, 0.08)
    return 440 * 2 ** ((note + vibrato + glide + drift - 69) / 12)


def sing(
    clips: list[Clip],
    rng: random.Random,
    chords: list[Chord],
    beat: float,
    seconds: float,
) -> np.ndarray:
    """Sings made-up lines on the words of a speaker's clips, to at least one chord.

    The beat is in seconds. Returns float64 (seconds * RATE,).
    """
    frames = int(seconds / FRAME)
    noise = np.random.default_rng(rng.randrange(1 << 30))
    f0 = np.zeros(frames)
    envelope = np.full((frames, BINS), QUIET, np.float32)
    aperiodicity = np.zeros((frames, 1))
    melody = Melody(rng, clips, chords)
    density = rng.uniform(0.5, 0.9)
    lengths = (0.5, 0.5, 1, 1, 1, 1.5, 2, 0.25 if beat > 0.45 else 0.5, 3)
    time = rng.uniform(0, 2)
    while time < seconds - 1:
        end = min(seconds - 0.3, time + rng.uniform(1.5, 5))
        clip, at = rng.choice(clips), 0
        while time < end - 0.12:
            count = int(min(beat * rng.choice(lengths), end - time) / FRAME)
            if count < 12:
                break
            take = int(count * rng.uniform(0.35, 0.95)) if count > 60 else count
            if at + take >= len(clip.f0):
                clip, at = rng.choice(clips), 0
                take = min(take, len(clip.f0))
            position = stretch(clip, at, take, count)
            at += take
            low = position.astype(int)
            high = np.minimum(low + 1, len(clip.f0) - 1)
            part = (position - low).astype(np.float32)[:, None]
            here = slice(int(time / FRAME), min(int(time / FRAME) + count, frames))
            n = here.stop - here.start
            # float16 is for storage: arithmetic on it is slow.
            before, after = (clip.envelope[i].astype(np.float32) for i in (low, high))
            envelope[here] = (before + (after - before) * part)[:n]
            aperiodicity[here] = clip.aperiodicity[low][:n, :1]
            hertz = pitch_curve(rng, noise, melody.next(time), count)
            f0[here] = np.where(clip.f0[low] > 0, hertz, 0)[:n]
            time += count * FRAME
        rest = (0.2, 0.6) if rng.random() < density else (1.5, 6)
        time += rng.uniform(*rest)
    # Formants moved: the same speaker with a longer or shorter throat.
    moved = np.clip(np.arange(BINS) / rng.uniform(0.87, 1.15), 0, BINS - 1)
    low = moved.astype(int)
    part = (moved - low).astype(np.float32)
    high = np.minimum(low + 1, BINS - 1)
    envelope = envelope[:, low] * (1 - part) + envelope[:, high] * part
    decoded = pyworld.decode_aperiodicity(aperiodicity, RATE, FFT)
    power = np.ascontiguousarray(np.exp(envelope), np.float64)
    y = pyworld.synthesize(f0, power, decoded, RATE, 1000 * FRAME)
    length = int(seconds * RATE)
    return np.pad(y, (0, max(0, length - len(y))))[:length]


def say(
    clips: list[Clip], rng: random.Random, beat: float, seconds: float
) -> np.ndarray:
    """Places phrases as they were recorded, each beginning on a half beat.

    Returns float64 (seconds * RATE,).
    """
    length = int(seconds * RATE)
    y = np.zeros(length)
    longest_rest = rng.choice((0.3, 1.0, 3.0))
    time = rng.uniform(0, 1)
    while time < seconds - 0.5:
        at = int(round(2 * time / beat) * beat / 2 * RATE)
        clip = rng.choice(clips).audio[: max(0, length - at)]
        y[at : at + len(clip)] += clip
        time += len(clip) / RATE + rng.uniform(0.05, longest_rest)
    return y


def vocals(
    clips: list[Clip],
    rng: random.Random,
    style: str,
    chords: list[Chord],
    beat: float,
    seconds: float,
) -> np.ndarray:
    """A vocal stem in a style: "sung", "said" or "both"."""
    parts = []
    if style != "said":
        parts.append(sing(clips, rng, chords, beat, seconds))
    if style != "sung":
        parts.append(say(clips, rng, beat, seconds))
    parts = [part / (np.sqrt((part**2).mean()) + 1e-9) for part in parts]
    if style == "both":
        parts[1] *= rng.uniform(0.3, 1.0)
    y = np.sum(parts, axis=0)
    if style != "said" and rng.random() < 0.2:  # a second part by the same singer
        harmony = sing(clips, rng, chords, beat, seconds)
        y += rng.uniform(0.2, 0.7) * harmony / (np.sqrt((harmony**2).mean()) + 1e-9)
    if rng.random() < 0.25:  # doubled: the same line once more, a little later
        delay = int(rng.uniform(0.012, 0.035) * RATE)
        y += rng.uniform(0.3, 0.8) * np.pad(y, (delay, 0))[: len(y)]
    return y
