"""Produced music: pieces of instrumental tracks, and the guitars of some."""

from __future__ import annotations

import pathlib
import random

import numpy as np
import soundfile

from corpus import sources
from corpus.mix import loudness
from corpus.scores import Chord, chords_of
from corpus.voices import resampled, to_rate
from util import UserError

GUITAR = "guitar.ogg"  # lies beside the song of a Frets on Fire song, and is not in it
DRAWS = 20


def length(path: pathlib.Path) -> float:
    """Seconds of an audio file."""
    return float(soundfile.info(path).duration)


def read_piece(
    path: pathlib.Path, start: float, seconds: float, rate: int, channels: int
) -> np.ndarray:
    """Reads a piece of a track, padded at its end: (samples,), or (2, samples)."""
    with soundfile.SoundFile(path) as track:
        track.seek(min(int(start * track.samplerate), track.frames))
        piece = track.read(int(seconds * track.samplerate), always_2d=True)
        own = track.samplerate
    count = int(seconds * rate)
    if channels == 1:
        y = to_rate(piece, own, rate)
        return np.pad(y, (0, max(0, count - len(y))))[:count]
    y = resampled(piece.T[[0, -1]], own, rate)
    return np.pad(y, ((0, 0), (0, max(0, count - y.shape[1]))))[:, :count]


def read_track(
    path: pathlib.Path, start: float, seconds: float, rate: int, channels: int
) -> np.ndarray:
    """A piece of a track, with the guitar where that lies apart."""
    music = read_piece(path, start, seconds, rate, channels)
    guitar = path.parent / GUITAR
    if path.stem == "song" and guitar.exists():
        music += read_piece(guitar, start, seconds, rate, channels)
    return music


def draw_piece(
    rng: random.Random,
    split: str,
    seed: int,
    seconds: float,
    rate: int,
    channels: int,
) -> tuple[str, float, np.ndarray]:
    """Draws a piece of a track of a split that is loud enough to be heard.

    In the split "real" the tracks take turns by `seed`. Returns the track's name, where
    the piece begins in seconds, and the waveform. Raises UserError where no track is
    that long.
    """
    tracks = [p for p in sources.music_tracks(split) if length(p) > seconds]
    if not tracks:
        raise UserError(f"no track of the split {split} is longer than {seconds} s")
    for _ in range(DRAWS):
        path = rng.choice(tracks)
        if split == "real":
            path = tracks[seed % len(tracks)]
        start = rng.uniform(0, length(path) - seconds)
        music = read_track(path, start, seconds, rate, channels)
        if audible(music, rate):
            break
    return sources.track_name(path), start, music


def draw_guitar(
    rng: random.Random, seconds: float, rate: int, channels: int
) -> tuple[str, np.ndarray]:
    """Draws a piece of a recorded guitar: its name and the waveform."""
    songs = sources.SHARE / sources.FRETS
    for _ in range(DRAWS):
        path = songs / rng.choice(sources.GUITARS) / GUITAR
        if not path.exists():
            raise sources.MissingPackageError(path)
        start = rng.uniform(0, max(0.0, length(path) - seconds))
        guitar = read_piece(path, start, seconds, rate, channels)
        if audible(guitar, rate):
            break
    return f"guitar of {path.parent.name}", guitar


def audible(waveform: np.ndarray, rate: int) -> bool:
    """Whether two thirds of its seconds are above -50 dB of full scale."""
    waveform = loudness(waveform)
    seconds = waveform[: len(waveform) // rate * rate].reshape(-1, rate)
    loud = np.sqrt((seconds**2).mean(axis=1)) > 10 ** (-50 / 20)
    return bool(loud.mean() > 2 / 3)


def audio_chords(waveform: np.ndarray, rate: int) -> list[Chord]:
    """Guesses a chord for each 2 s of audio from its spectrum, 80 to 1000 Hz."""
    waveform = waveform if waveform.ndim == 1 else waveform.mean(axis=0)
    size = 2 * rate
    count = max(1, len(waveform) // size)
    blocks = np.resize(waveform, (count, size)) * np.hanning(size)
    spectrum = np.abs(np.fft.rfft(blocks, axis=1))
    hertz = np.fft.rfftfreq(size, 1 / rate)
    used = (hertz > 80) & (hertz < 1000)
    classes = np.round(69 + 12 * np.log2(hertz[used] / 440)).astype(int) % 12
    histogram = np.zeros((count, 12))
    np.add.at(histogram.T, classes, spectrum[:, used].T)
    return chords_of(histogram, 2.0)
