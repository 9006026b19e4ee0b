"""Make the mixture in audio/: twelve seconds of a generated song.

    python data/make_mixture.py audio/demo.flac

A formant voice, a plucked bass, drums and chords, placed in a 44.1 kHz stereo picture
and summed; 16-bit FLAC. There is no other randomness than the drums' noise, which is
seeded, so that the same file comes out again.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import soundfile

SAMPLE_RATE = 44100
BEAT_SECONDS = 0.5
NUM_BEATS = 24
PEAK = 0.8
# One chord for four beats, as MIDI notes; its first note is the bass's.
CHORDS = ((45, 60, 64, 69), (41, 60, 65, 69), (48, 60, 64, 67), (43, 59, 62, 67))
# Sung notes: first beat, beats, MIDI note, formants of the vowel in Hz.
AH, EH, OO = (730, 1090, 2440), (530, 1840, 2480), (300, 870, 2240)
MELODY = (
    *((2, 1, 69, AH), (3, 1, 72, EH), (4, 2, 72, AH), (6, 0.5, 71, OO)),
    *((6.5, 1.5, 69, EH), (9, 1, 67, AH), (10, 1, 67, OO), (11, 1.5, 64, AH)),
    *((14, 1, 67, EH), (15, 1, 71, AH), (16, 2, 72, OO), (18, 1, 76, AH)),
    *((19, 2, 74, EH), (21, 2.5, 69, AH)),
)


def _time(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def _hertz(midi: float) -> float:
    return 440.0 * 2 ** ((midi - 69) / 12)


def _faded(sound: np.ndarray, seconds: float) -> np.ndarray:
    ramp = np.minimum(1, np.arange(len(sound)) / (seconds * SAMPLE_RATE))
    return sound * ramp * ramp[::-1]


def _place(part: np.ndarray, beat: float, sound: np.ndarray) -> None:
    start = round(beat * BEAT_SECONDS * SAMPLE_RATE)
    stop = min(start + len(sound), len(part))
    part[start:stop] += sound[: stop - start]


def sung(midi: float, seconds: float, formants: tuple[int, ...]) -> np.ndarray:
    """One sung note: harmonics with vibrato under the formants of a vowel."""
    time = _time(seconds)
    vibrato = 0.01 * np.sin(2 * np.pi * 5.5 * time) * np.minimum(1, time / 0.25)
    phase = 2 * np.pi * np.cumsum(_hertz(midi) * (1 + vibrato)) / SAMPLE_RATE
    sound = np.zeros(len(time))
    for k in range(1, int(5000 / _hertz(midi)) + 1):
        distance = (k * _hertz(midi) - np.array(formants)) / 110
        sound += (np.sum(1 / (1 + distance**2)) + 0.02) * np.sin(k * phase)
    return _faded(sound, 0.04)


def plucked(midi: float, seconds: float) -> np.ndarray:
    """One bass note: five harmonics, the higher the shorter."""
    time = _time(seconds)
    harmonics = [
        np.sin(2 * np.pi * k * _hertz(midi) * time) * np.exp(-2 * k * time) / k
        for k in range(1, 6)
    ]
    return _faded(sum(harmonics), 0.005)


def chord(midis: tuple[int, ...], seconds: float) -> np.ndarray:
    """A held chord of softly detuned saw-like tones."""
    time = _time(seconds)
    tones = [
        np.sin(2 * np.pi * k * _hertz(midi) * detune * time) / k**1.5
        for midi in midis
        for detune in (0.998, 1.002)
        for k in range(1, 8)
    ]
    return _faded(sum(tones), 0.08)


def kick() -> np.ndarray:
    """A bass drum: a falling sine."""
    time = _time(0.2)
    phase = 2 * np.pi * (50 * time + 2.2 * (1 - np.exp(-35 * time)))
    return _faded(np.sin(phase) * np.exp(-18 * time), 0.001)


def noise(rng: np.random.Generator, seconds: float, *, bright: int) -> np.ndarray:
    """Decaying noise, differentiated `bright` times: a snare or a hi-hat."""
    time = _time(seconds)
    samples = np.diff(rng.standard_normal(len(time) + bright), bright)
    return _faded(samples * np.exp(-time * 5 / seconds), 0.001)


def make_parts(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The four parts of the song, each of shape (frames,) with a peak of 1."""
    frames = round(NUM_BEATS * BEAT_SECONDS * SAMPLE_RATE)
    parts = {name: np.zeros(frames) for name in ("voice", "bass", "drums", "chords")}
    for beat in range(0, NUM_BEATS, 4):
        root, *notes = CHORDS[beat // 4 % len(CHORDS)]
        _place(parts["chords"], beat, chord(tuple(notes), 4 * BEAT_SECONDS))
        for step, octave in ((0, 0), (1.5, 0), (2, 12), (3, 0)):
            _place(parts["bass"], beat + step, plucked(root - 12 + octave, 0.6))
    for beat in range(NUM_BEATS):
        hit = 0.25 * noise(rng, 0.18, bright=0) if beat % 2 else 1.2 * kick()
        _place(parts["drums"], beat, hit)
        for half in (0, 0.5):
            _place(parts["drums"], beat + half, 0.04 * noise(rng, 0.06, bright=2))
    for start, beats, midi, formants in MELODY:
        _place(parts["voice"], start, sung(midi, beats * BEAT_SECONDS, formants))
    return {name: part / np.abs(part).max() for name, part in parts.items()}


def make_mixture() -> np.ndarray:
    """The song, shape (frames, 2), full scale 1."""
    gains = {  # left, right
        "voice": (0.6, 0.6),
        "bass": (0.5, 0.45),
        "drums": (0.55, 0.6),
        "chords": (0.3, 0.2),
    }
    parts = make_parts(np.random.default_rng(1337))
    mixture = sum(np.outer(part, gains[name]) for name, part in parts.items())
    return PEAK * mixture / np.abs(mixture).max()


def main() -> None:
    """Write the file named on the command line."""
    path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "audio/demo.flac")
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.rint(make_mixture() * 32767).astype(np.int16)
    soundfile.write(str(path), samples, SAMPLE_RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
