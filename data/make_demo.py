"""Make a small synthetic data set in the layout of MUSDB18.

    python data/make_demo.py data/demo

Thirty training tracks and three test tracks of six seconds: a plucked bass, drums
(kick, snare, hi-hat), chord pads as `other` and a formant voice that sings phrases
with rests between them. Stereo WAV, 16 bit, 22050 Hz; the mixture is the exact sum of
the stems. The same seed gives the same files. It shows the whole program to somebody
who has no MUSDB18 yet; it is far too easy and too small to train anything for music.
"""

from __future__ import annotations

import argparse
import json
import logging
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from sswavenet.console import packages

with packages.required():
    import numpy as np
    import sound_files

import util
from sswavenet.console import run
from util import UserError

SAMPLE_RATE = 22050
DURATION_SECONDS = 6.0
NUM_TRAIN_TRACKS = 30
NUM_TEST_TRACKS = 3
PEAK = 0.9
CHORDS = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (9, 12, 16), (2, 5, 9), (4, 7, 11))
# Formants of five vowels, Hz.
VOWELS = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (270, 2290, 3010),
    (570, 840, 2410),
    (300, 870, 2240),
)

logger = logging.getLogger("make_demo")


def _time(seconds: float) -> np.ndarray:
    return np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def _hertz(midi: float) -> float:
    return 440.0 * 2 ** ((midi - 69) / 12)


def _add(track: np.ndarray, sound: np.ndarray, seconds: float) -> None:
    start = int(seconds * SAMPLE_RATE)
    stop = min(start + len(sound), len(track))
    track[start:stop] += sound[: max(stop - start, 0)]


def _fade(sound: np.ndarray, seconds: float) -> np.ndarray:
    """`sound` faded in and out, so that it does not click."""
    ramp = np.minimum(1, np.arange(len(sound)) / (seconds * SAMPLE_RATE))
    return sound * ramp * ramp[::-1]


def _pluck(midi: float, seconds: float) -> np.ndarray:
    """A bass note: a few harmonics, the higher the shorter."""
    time, hertz = _time(seconds), _hertz(midi)
    sound = np.zeros(len(time))
    for k in range(1, 5):
        decay = np.exp(-time * (1.5 + 2.5 * k))
        sound += np.sin(2 * np.pi * hertz * k * time) * decay / k
    return _fade(sound, 0.004)


def _kick() -> np.ndarray:
    time = _time(0.18)
    phase = 55 * time + 6 * (1 - np.exp(-time * 40)) / 4
    return np.sin(2 * np.pi * phase) * np.exp(-time * 22)


def _snare(rng: np.random.Generator) -> np.ndarray:
    time = _time(0.14)
    noise = rng.standard_normal(len(time)) * np.exp(-time * 28)
    return 0.55 * noise + 0.5 * np.sin(2 * np.pi * 190 * time) * np.exp(-time * 35)


def _hat(rng: np.random.Generator) -> np.ndarray:
    time = _time(0.05)
    noise = np.diff(np.diff(rng.standard_normal(len(time) + 2)))
    return 0.12 * noise * np.exp(-time * 90)


def _pad(midis: Sequence[float], seconds: float) -> np.ndarray:
    """A chord: three soft, slightly detuned harmonics for each note."""
    time, sound = _time(seconds), np.zeros(int(seconds * SAMPLE_RATE))
    for midi in midis:
        for detune in (0.997, 1.003):
            for k in range(1, 4):
                sound += np.sin(2 * np.pi * _hertz(midi) * detune * k * time) / k**2
    return _fade(sound, 0.1) / len(midis)


def _sung(midi: float, seconds: float, vowel: tuple[int, ...]) -> np.ndarray:
    """A sung note: harmonics with vibrato, shaped by a vowel's formants."""
    time = _time(seconds)
    vibrato = 0.012 * np.sin(2 * np.pi * 5.5 * time) * np.minimum(1, time / 0.2)
    phase = 2 * np.pi * np.cumsum(_hertz(midi) * (1 + vibrato)) / SAMPLE_RATE
    sound = np.zeros(len(time))
    for k in range(1, int(4000 / _hertz(midi)) + 1):
        hertz = k * _hertz(midi)
        gain = sum(1 / (1 + ((hertz - formant) / 120) ** 2) for formant in vowel)
        sound += (gain + 0.02) * np.sin(k * phase)
    return _fade(sound, 0.03)


def make_stems(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One song, drawn by `rng`: mono stems by name, root mean square of about 0.1."""
    frames = int(DURATION_SECONDS * SAMPLE_RATE)
    stems = {name: np.zeros(frames) for name in ("vocals", "drums", "bass", "other")}
    beat = 60 / rng.uniform(85, 140)
    root = int(rng.integers(33, 45))
    kick, snare, hat = _kick(), _snare(rng), _hat(rng)
    num_beats = int(DURATION_SECONDS / beat) + 1
    chord = CHORDS[0]
    for i in range(num_beats):
        now = i * beat
        if i % 2 == 0:
            chord = CHORDS[rng.integers(len(CHORDS))]
            notes = [root + 24 + note for note in chord]
            _add(stems["other"], _pad(notes, 2 * beat), now)
        note = root + chord[0] % 12
        for half in range(rng.integers(1, 3)):
            _add(stems["bass"], _pluck(note, 0.9 * beat), now + half * beat / 2)
        _add(stems["drums"], snare if i % 2 else kick, now)
        _add(stems["drums"], hat, now)
        _add(stems["drums"], hat, now + beat / 2)
    now = rng.uniform(0.3, 0.8)
    while now < DURATION_SECONDS - 1:
        for _ in range(rng.integers(2, 5)):
            length = beat * rng.choice([0.5, 1.0])
            length = min(length, DURATION_SECONDS - 0.2 - now)
            if length > 0.1:
                midi = root + 24 + rng.choice([0, 2, 4, 5, 7, 9, 12])
                vowel = VOWELS[rng.integers(len(VOWELS))]
                _add(stems["vocals"], _sung(midi, length, vowel), now)
            now += length
        now += rng.uniform(0.3, 0.8)
    gains = {"vocals": 1.0, "drums": 0.8, "bass": 0.9, "other": 0.3}
    for name, audio in stems.items():
        level = np.sqrt(np.mean(np.square(audio)))
        audio *= 0.1 * gains[name] * 10 ** (rng.uniform(-2, 2) / 20) / level
    return stems


def write_track(folder: pathlib.Path, rng: np.random.Generator) -> None:
    """Make a song and write its folder: four stems and their exact sum."""
    folder.mkdir(parents=True)
    stems = {}
    for name, audio in make_stems(rng).items():
        angle = np.pi / 4 * (1 + rng.uniform(-0.4, 0.4))
        stems[name] = np.outer(audio, [np.cos(angle), np.sin(angle)])
    scale = PEAK * 32767 / max(np.abs(sum(stems.values())).max(), 1.0)
    samples = {
        name: np.rint(audio * scale).astype(np.int16) for name, audio in stems.items()
    }
    samples["mixture"] = sum(samples.values())
    for name, audio in samples.items():
        path = folder / f"{name}.wav"
        sound_files.write(path, audio, SAMPLE_RATE, final=path)


def make_demo(folder: pathlib.Path, seed: int) -> bool:
    """Make the data set of a seed, all or nothing; False where it is there already.

    Raises UserError where the folder holds something else.
    """
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place}: expected a folder or nothing there, got a file")
    description = {"maker": "make_demo", "version": 1, "seed": seed}
    label = folder / "demo.json"
    if folder.exists() and any(folder.iterdir()):
        if label.is_file() and util.read_json(label) == description:
            return False
        raise UserError(f"{folder} holds something else; remove it first")
    if folder.is_symlink():
        raise UserError(f"{folder}: expected a folder or nothing there, got a link")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=folder.parent) as name:
        unfinished = pathlib.Path(name) / "demo"
        counts = (("train", NUM_TRAIN_TRACKS), ("test", NUM_TEST_TRACKS))
        for part, (subset, count) in enumerate(counts):
            for number in range(count):
                rng = np.random.default_rng([seed, part, number])
                write_track(unfinished / subset / f"Demo - {number:02d}", rng)
        (unfinished / label.name).write_text(json.dumps(description))
        if folder.exists():
            folder.rmdir()
        shutil.move(str(unfinished), str(folder))
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default="data/demo")
    parser.add_argument("--seed", type=int, default=1337)
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"expected a seed of 0 or more, got {options.seed}")

    def work() -> int:
        made = make_demo(options.folder, options.seed)
        logger.info("%s: %s", options.folder, "made" if made else "already there")
        return 0

    return run.run(work)


if __name__ == "__main__":
    sys.exit(main())
