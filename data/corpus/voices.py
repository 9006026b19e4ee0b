"""Speakers: reading clips, analysing them with WORLD once, keeping that in a cache.

A voice is kept as a folder of `.npy` files: its clips end to end and the borders
between them, so that nothing needs unpickling. Frames are 5 ms apart.

Reference: Morise et al., "WORLD: A Vocoder-Based High-Quality Speech Synthesis
System for Real-Time Applications", 2016 (the pyworld package).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import numpy as np
import pyworld
import soundfile
from scipy.signal import resample_poly

from corpus.sources import RATE, SHARE, MissingPackageError, need_program
from corpus.speakers import SPEAKERS

FRAME = 0.005  # seconds
FFT = 1024  # WORLD's transform at 16 kHz, for f0 of 60 Hz and more
BINS = FFT // 2 + 1
LONGEST = 8.0  # seconds of a clip
SYNTHETIC_CLIPS = 60
LARGEST = 400  # files that a speaker's clips are drawn from
FIELDS = ("audio", "f0", "envelope", "aperiodicity")
# fmt: off
SYLLABLES = [
    "ba", "bo", "da", "de", "di", "do", "du", "fa", "fe",
    "ga", "go", "ka", "ke", "ki", "ko", "la", "le", "li",
    "lo", "lu", "ma", "me", "mi", "mo", "mu", "na", "ne",
    "ni", "no", "nu", "pa", "pe", "pi", "po", "ra", "re",
    "ri", "ro", "ru", "sa", "se", "si", "so", "su", "ta",
    "te", "ti", "to", "tu", "va", "ve", "vi", "vo", "za",
    "an", "en", "in", "on", "ar", "or", "al", "el", "am",
    "om", "as", "es", "tana", "sola",
]
# fmt: on


@dataclasses.dataclass(frozen=True)
class Clip:
    """One phrase."""

    audio: np.ndarray  # waveform, float32 (samples,), 16 kHz
    f0: np.ndarray  # fundamental in Hz, 0 where unvoiced, float32 (frames,)
    envelope: np.ndarray  # log power of the spectral envelope, float16 (frames, 513)
    aperiodicity: np.ndarray  # WORLD's coded band aperiodicity, float32 (frames, 1)


def to_rate(waveform: np.ndarray, rate: int, wanted: int = RATE) -> np.ndarray:
    """Resamples mono or (samples, channels) audio to mono at another rate."""
    mono = waveform.mean(axis=1) if waveform.ndim > 1 else waveform
    return resampled(mono, rate, wanted)


def resampled(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Resamples (..., samples)."""
    if rate == wanted:
        return waveform
    divisor = int(np.gcd(rate, wanted))
    return resample_poly(waveform, wanted // divisor, rate // divisor, axis=-1)


def read(path: pathlib.Path) -> np.ndarray:
    """Reads any audio file as mono float64 at the corpus' rate."""
    if path.suffix in (".g722", ".gsm"):  # libsndfile knows no G.722
        command = [need_program("ffmpeg"), "-v", "error", "-i", str(path)]
        command += ["-f", "s16le", "-ar", str(RATE), "-ac", "1", "-"]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        return np.frombuffer(raw, "<i2") / 32768.0
    return to_rate(*soundfile.read(path))


def speak(source: str, text: str, path: pathlib.Path) -> None:
    """Lets a speech synthesizer read a text into a WAV file."""
    engine, voice = source.split(":")
    if engine == "flite":
        command = [need_program("flite"), "-voice", voice, "-t", text, "-o", str(path)]
    else:
        command = [need_program("text2wave"), "-eval", f"(voice_{voice})"]
        command += ["-o", str(path)]
    done = subprocess.run(command, input=text.encode(), capture_output=True)
    if done.returncode or not path.exists() or path.stat().st_size < 1000:
        raise MissingPackageError(f"the voice {source}")


def synthesized(source: str, rng: random.Random) -> Iterator[np.ndarray]:
    """Has a synthesizer read made-up words."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(SYNTHETIC_CLIPS):
            words = [
                "".join(rng.choices(SYLLABLES, k=rng.randint(1, 3)))
                for _ in range(rng.randint(5, 9))
            ]
            path = pathlib.Path(folder, f"{i}.wav")
            speak(source, " ".join(words) + ".", path)
            yield read(path)


def recorded(pattern: str, rng: random.Random) -> Iterator[np.ndarray]:
    """Reads the recordings of a pattern below /usr/share in a drawn order."""
    # The largest files are the longest phrases; single digits and letters are many.
    paths = sorted(
        (path for path in SHARE.glob(pattern) if path.is_file()),
        key=lambda path: (-path.stat().st_size, str(path)),
    )[:LARGEST]
    if not paths:
        raise MissingPackageError(f"the voice in {SHARE / pattern}")
    rng.shuffle(paths)
    for path in paths:
        # There may be a text file or an empty prompt among the sounds.
        with contextlib.suppress(
            subprocess.CalledProcessError, soundfile.LibsndfileError
        ):
            yield read(path)[: int(LONGEST * RATE)]


def recordings(name: str, speech: float) -> list[np.ndarray]:
    """The clips of a speaker, the same ones every time: `speech` seconds, or all."""
    source, rng = SPEAKERS[name].source, random.Random(f"clips/{name}")
    clips, total = [], 0.0
    for clip in (synthesized if ":" in source else recorded)(source, rng):
        clips.append(clip)
        total += len(clip) / RATE
        if total > speech:
            break
    return clips


def trim(clip: np.ndarray) -> np.ndarray:
    """Cuts the silence at both ends (40 dB below the loudest 10 ms), peak to 0.7."""
    hop = RATE // 100
    loud = np.sqrt((clip[: len(clip) // hop * hop].reshape(-1, hop) ** 2).mean(axis=1))
    if loud.size == 0 or loud.max() < 3e-3:
        return clip[:0]
    there = np.flatnonzero(loud > loud.max() * 0.01)
    clip = clip[there[0] * hop : (there[-1] + 1) * hop]
    return np.ascontiguousarray(clip / np.abs(clip).max() * 0.7, np.float64)


def analyse(audio: np.ndarray) -> Clip:
    """WORLD's analysis of one clip."""
    f0, time = pyworld.dio(
        audio, RATE, frame_period=1000 * FRAME, f0_floor=60.0, f0_ceil=500.0
    )
    f0 = pyworld.stonemask(audio, f0, time, RATE)
    envelope = pyworld.cheaptrick(audio, f0, time, RATE, fft_size=FFT)
    noise = pyworld.d4c(audio, f0, time, RATE, fft_size=FFT)
    return Clip(
        audio.astype(np.float32),
        f0.astype(np.float32),
        np.log(np.maximum(envelope, 1e-12)).astype(np.float16),
        pyworld.code_aperiodicity(noise, RATE).astype(np.float32),
    )


def build(name: str, cache: pathlib.Path, speech: float) -> pathlib.Path:
    """Analyses a speaker into the cache, once; writes by renaming."""
    target = cache / f"{name}-{speech:g}"
    if target.exists():
        return target
    trimmed = [trim(clip) for clip in recordings(name, speech)]
    clips = [analyse(clip) for clip in trimmed if len(clip) > RATE // 5]
    clips = [clip for clip in clips if (clip.f0 > 0).sum() > 10]
    partial = cache / f".{target.name}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process of that number
    partial.mkdir(parents=True)
    try:
        for field in FIELDS:
            joined = np.concatenate([getattr(clip, field) for clip in clips])
            np.save(partial / f"{field}.npy", joined)
        borders = [(len(clip.audio), len(clip.f0)) for clip in clips]
        np.save(partial / "borders.npy", np.cumsum(borders, axis=0))
        with contextlib.suppress(OSError):  # another process was faster
            partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def load(name: str, cache: pathlib.Path, speech: float) -> list[Clip]:
    """Reads a speaker's clips, analysing them first where the cache lacks them.

    Their arrays are mapped, not read: a song uses few of them.
    """
    folder = build(name, cache, speech)
    samples, frames = np.load(folder / "borders.npy")[:-1].T
    parts = [
        np.split(
            np.load(folder / f"{field}.npy", mmap_mode="r"),
            samples if field == "audio" else frames,
        )
        for field in FIELDS
    ]
    return [Clip(*clip) for clip in zip(*parts)]
