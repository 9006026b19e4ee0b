"""Plays notes with the recordings of an SFZ instrument.

Conventions: notes have MIDI keys, times are seconds. It is played at twice the rate of
the song, so that what linear interpolation folds mostly lies above what is kept.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import random
from collections.abc import Sequence

import numpy as np
import soundfile
from scipy.signal import resample_poly

from corpus import sfz
from corpus.synth import Note
from util import UserError

OVERSAMPLING = 2
LONGEST = 10.0  # seconds of a note
CUT = 0.006  # seconds in which a note ends that another one silences
RELEASE = 0.05  # seconds, at least: strings are damped, not switched off


@dataclasses.dataclass
class Voice:
    """One recording while it plays."""

    region: sfz.Region
    start: float
    end: float
    key: int
    gain: float
    release: float


@functools.lru_cache(maxsize=2000)
def recording(path: pathlib.Path) -> tuple[np.ndarray, int]:
    """A recording as mono float32, and its rate; a UserError if it cannot be read."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path}: expected a recording, got {error}") from None
    return samples.mean(axis=1), rate


def voices_of(notes: Sequence[Note], turns: sfz.Turns) -> list[Voice]:
    """The recordings that notes play, in order of time."""
    moments = [(note.start, 1, note) for note in notes]
    moments += [(note.start + note.length, 0, note) for note in notes]
    voices: list[Voice] = []
    for time, onset, note in sorted(moments, key=lambda m: (m[0], m[1], m[2].pitch)):
        chosen = turns.choose(note.pitch, note.velocity, release=not onset)
        for region in chosen:
            one_shot = region.opcodes.get("loop_mode") == "one_shot" or not onset
            end = time + LONGEST if one_shot else note.start + note.length
            gain = region.gain(note.velocity)
            if not onset:  # the longer a note has faded, the softer its release
                gain *= 10 ** (-region.number("rt_decay") * note.length / 20)
            release = max(RELEASE, region.number("ampeg_release"))
            group = region.opcodes.get("group")
            for voice in voices:
                silenced = voice.region.opcodes.get("off_by")
                if group and silenced == group and voice.start < time < voice.end:
                    voice.end, voice.release = time, CUT
            start = time + region.number("delay")
            voices.append(Voice(region, start, end, note.pitch, gain, release))
    return voices


def sound(voice: Voice, rate: int) -> np.ndarray:
    """The waveform of a voice, float64."""
    region = voice.region
    samples, own = recording(region.path)
    centre = region.key("pitch_keycenter", 60)
    track = float(region.opcodes.get("pitch_keytrack", 100))
    cents = (voice.key - centre) * track + region.number("tune")
    cents += 100 * region.number("transpose")
    step = 2 ** (cents / 1200) * own / rate
    held = min(voice.end - voice.start, LONGEST)
    count = min(int((held + voice.release) * rate), int((len(samples) - 1) / step))
    if count <= 0:
        return np.zeros(0)
    y = voice.gain * np.interp(
        np.arange(count) * step, np.arange(len(samples)), samples
    )
    off = max(0, int(held * rate))
    if off < count:
        fall = np.arange(count - off) / (voice.release * rate)
        y[off:] *= np.exp(-5 * fall) * (1 - np.minimum(fall, 1))
    edge = min(count, int(0.001 * rate))
    y[count - edge :] *= np.linspace(1, 0, edge)
    return y


def play(
    notes: Sequence[Note],
    path: pathlib.Path,
    rng: random.Random,
    seconds: float,
    rate: int,
    *,
    controllers: tuple[tuple[int, int], ...] = (),
) -> np.ndarray:
    """Plays notes, in any order, on the instrument of an SFZ file.

    `rng` draws among recordings of the same note; `controllers` are those of
    `sfz.load`. Returns float64 (seconds * rate,), of no particular level. Raises
    UserError where a file cannot be read.
    """
    high, length = rate * OVERSAMPLING, int(seconds * rate) * OVERSAMPLING
    y = np.zeros(length)
    for voice in voices_of(notes, sfz.Turns(sfz.load(path, controllers), rng)):
        at = int(voice.start * high)
        if at < length:
            wave = sound(voice, high)[: length - at]
            y[at : at + len(wave)] += wave
    return resample_poly(y, 1, OVERSAMPLING)


def keys(path: pathlib.Path, low: int, high: int) -> list[int]:
    """The keys from `low` to `high` that an SFZ file has a recording for."""
    regions = sfz.load(path)
    return [
        key
        for key in range(low, high + 1)
        if any(
            region.trigger == "attack" and region.plays(key, 100, 0.0, 0)
            for region in regions
        )
    ]
