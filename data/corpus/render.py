"""Turns the events of a stem into sound: sound banks, sampled kits, loops.

Each stem gets a synthesizer of its own, closed afterwards: one that is kept carries
voices and reverberation from song to song, and the song then depends on what was
made before it. The library is called, never the program's file renderer, which a
hanging note keeps writing for ever.
"""

from __future__ import annotations

import ctypes
import pathlib
import random

import fluidsynth
import mido
import numpy as np
import soundfile
from scipy.signal import resample_poly

from corpus import mix, sources
from corpus.scores import Event, is_onset
from corpus.synth import synthetic_kit
from corpus.voices import to_rate

# The synthesizer interpolates without an anti-aliasing filter: render at twice the
# rate, so that most of what folds lies above the filter of the decimation.
OVERSAMPLING = 2
LONGEST_HIT = 3.0  # seconds
OTHER_PROGRAMS = (
    *range(0, 9),
    *range(11, 32),
    *range(40, 52),
    *range(56, 76),
    *range(79, 85),
    *range(86, 91),
    *range(92, 96),
    *range(104, 109),
)
BASS_PROGRAMS = (*range(32, 40), 33, 33, 34, 34, 58, 87)
MIX_LEVEL = {
    "kick": 1,
    "snare": 0.9,
    "hat": 0.45,
    "crash": 0.5,
    "ride": 0.4,
    "tom": 0.8,
}
WIDTH = {"hat": 0.3, "tom": 0.4, "crash": 0.6, "ride": 0.6}  # in a stereo song
STAND_IN = {"ride": "crash", "crash": "hat", "tom": "snare"}
GM_DRUMS = {
    **dict.fromkeys((35, 36), "kick"),
    **dict.fromkeys((37, 38, 39, 40), "snare"),
    **dict.fromkeys((42, 44, 46, 54, 69, 70, 82), "hat"),
    **dict.fromkeys((49, 52, 55, 57), "crash"),
    **dict.fromkeys((51, 53, 59), "ride"),
    **dict.fromkeys((41, 43, 45, 47, 48, 50, 60, 61, 62, 63, 64, 65, 66), "tom"),
}

# The library's float output: the 16-bit one adds dither from a table of the process.
write_float = fluidsynth.cfunc(
    "fluid_synth_write_float",
    ctypes.c_int,
    *(
        (name, kind, 1)
        for name, kind in (
            ("synth", ctypes.c_void_p),
            ("len", ctypes.c_int),
            ("lout", ctypes.c_void_p),
            ("loff", ctypes.c_int),
            ("lincr", ctypes.c_int),
            ("rout", ctypes.c_void_p),
            ("roff", ctypes.c_int),
            ("rincr", ctypes.c_int),
        )
    ),
)
silence_log = fluidsynth.cfunc(
    "fluid_set_log_function",
    ctypes.c_void_p,
    ("level", ctypes.c_int, 1),
    ("handler", ctypes.c_void_p, 1),
    ("data", ctypes.c_void_p, 1),
)


def send(
    synth: fluidsynth.Synth,
    channel: int,
    message: mido.Message,
    programs: dict[int, int],
) -> None:
    """Hands one MIDI message to the synthesizer on a channel."""
    if message.type == "program_change" and channel != 9:
        synth.program_change(channel, programs.get(message.program, message.program))
    elif message.type == "control_change" and message.control in (1, 7, 10, 11, 64):
        synth.cc(channel, message.control, message.value)
    elif message.type == "pitchwheel":
        synth.pitch_bend(channel, message.pitch)
    elif is_onset(message):
        synth.noteon(channel, message.note, message.velocity)
    elif message.type in ("note_on", "note_off"):
        synth.noteoff(channel, message.note)


def draw_bank(rng: random.Random, stem: str, test: bool) -> str:
    """Draws a sound bank of the split; banks of drums alone serve drums alone."""
    banks = dict(sources.BANKS)
    if stem == "drums":
        banks.update(sources.DRUM_BANKS)
    return rng.choice(
        sorted(name for name, held_out in banks.items() if held_out == test)
    )


def play_bank(
    events: list[Event],
    rng: random.Random,
    stem: str,
    seconds: float,
    bank: str,
    wanted: int,
    channels: int,
) -> np.ndarray:
    """Plays the events of a stem on a sound bank with drawn programs.

    At the wanted rate: float64 (samples,), or (2, samples) for two channels.
    """
    rate = wanted * OVERSAMPLING
    settings = {
        "synth.dynamic-sample-loading": 1,  # load the drawn programs only
        "synth.reverb.active": int(rng.random() < 0.5),
        "synth.reverb.room-size": rng.uniform(0.1, 0.8),
        "synth.reverb.level": rng.uniform(0.2, 0.9),
        "synth.chorus.active": int(stem == "other" and rng.random() < 0.2),
    }
    used = sorted(
        {e.message.program for e in events if e.message.type == "program_change"}
    )
    pool = BASS_PROGRAMS if stem == "bass" else OTHER_PROGRAMS
    swap = rng.random() < (0.6 if stem == "other" else 0.8)
    programs = {program: rng.choice(pool) for program in used} if swap else {}
    drum_program = rng.choice((0, 0, 0, 8, 16, 24, 25, 32, 40))
    silence_log(2, None, None)  # the warnings about presets that a bank lacks
    synth = fluidsynth.Synth(gain=0.4, samplerate=float(rate), **settings)
    try:
        loaded = synth.sfload(sources.bank_path(bank))
        if bank in sources.DRUM_BANKS:  # they hold one preset: bank 0, program 0
            synth.program_select(9, loaded, 0, 0)
        elif stem == "drums":
            there = synth.sfpreset_name(loaded, 128, drum_program)
            synth.program_select(9, loaded, 128, drum_program if there else 0)
        elif stem == "bass":
            for channel in range(16):
                synth.program_change(channel, rng.choice(pool))
        length = int(seconds * rate)
        out, at = np.zeros((length, 2), np.float32), 0
        for event in [*events, None]:
            here = length if event is None else min(length, int(event.time * rate))
            if here > at:
                start = out[at:].ctypes.data
                write_float(synth.synth, here - at, start, 0, 2, start, 1, 2)
                at = here
            if event is not None and at < length:
                channel = 9 if stem == "drums" else event.message.channel
                send(synth, channel, event.message, programs)
    finally:
        synth.delete()
    y = out.mean(axis=1, dtype=np.float64) if channels == 1 else out.T.astype(float)
    return resample_poly(y, 1, OVERSAMPLING, axis=-1)[..., : int(seconds * wanted)]


def read_hit(path: pathlib.Path, speed: float, wanted: int) -> np.ndarray:
    """Reads a drum hit with a peak of 1, played `speed` times as fast."""
    waveform, rate = soundfile.read(path, always_2d=True)
    hit = to_rate(waveform[: int(rate * LONGEST_HIT * 1.3)], rate, wanted)
    at = np.arange(0, len(hit) - 1, speed)[: int(LONGEST_HIT * wanted)]
    hit = np.interp(at, np.arange(len(hit)), hit)
    return hit / (np.abs(hit).max() + 1e-9)


def draw_kit(
    rng: random.Random, test: bool, rate: int
) -> tuple[str, dict[str, list[np.ndarray]]]:
    """Draws a drum kit, its name and hits by kind: recorded, mixed, or synthetic."""
    names = [name for name, held_out in sources.KITS.items() if held_out == test]
    choice = rng.random()
    if choice < 0.3 and not test:
        return "synthetic", synthetic_kit(rng, rate)
    if choice < 0.6:
        chosen = {kind: rng.choice(names) for kind in MIX_LEVEL}
    else:
        chosen = dict.fromkeys(MIX_LEVEL, rng.choice(names))
    hits = {}
    for kind, name in chosen.items():
        paths = sources.kit(name).get(kind, ())
        if paths:
            speed = rng.uniform(0.85, 1.2)
            drawn = rng.sample(paths, min(len(paths), rng.randint(1, 3)))
            hits[kind] = [read_hit(path, speed, rate) for path in drawn]
    return "+".join(sorted(set(chosen.values()))), hits


def play_hits(
    events: list[Event],
    rng: random.Random,
    seconds: float,
    hits: dict[str, list[np.ndarray]],
    rate: int,
    channels: int,
) -> np.ndarray:
    """Plays drum events with the hits of a kit, in the middle but for what WIDTH names.

    Float64 (samples,), or (2, samples) for two channels.
    """
    length = int(seconds * rate)
    y = np.zeros(length + int(LONGEST_HIT * rate) + 1)
    y = y if channels == 1 else np.stack([y, y])
    chosen: dict[int, tuple[str, int]] = {}
    gains = {kind: gain * rng.uniform(0.6, 1.4) for kind, gain in MIX_LEVEL.items()}
    for event in events:
        at = int(event.time * rate)
        if not is_onset(event.message) or at >= length:
            continue
        note = event.message.note
        if note not in chosen:
            kind = GM_DRUMS.get(note, rng.choice(("hat", "tom")))
            while kind not in hits:
                kind = STAND_IN[kind]
            chosen[note] = kind, rng.randrange(len(hits[kind]))
        kind, which = chosen[note]
        hit = hits[kind][which] * (event.message.velocity / 127) ** 1.5
        side = WIDTH.get(kind, 0.0) * (1 if note % 2 else -1)
        y[..., at : at + len(hit)] += mix.place(hit * gains[kind], side, channels)
    return y[..., :length]


def play_loop(
    rng: random.Random, seconds: float, test: bool, rate: int
) -> tuple[str, np.ndarray]:
    """Repeats a recorded drum loop, faster or slower: its name and the waveform."""
    names = [name for name, held_out in sources.LOOPS.items() if held_out == test]
    name = rng.choice(names)
    path = sources.SONIC_PI / f"{name}.flac"
    if not path.exists():
        raise sources.MissingPackageError(f"{path} (sonic-pi-samples)")
    waveform, own = soundfile.read(path)
    loop = to_rate(waveform, own, rate)
    speed, count = rng.uniform(0.8, 1.25), int(seconds * rate)
    position = (np.arange(count) * speed) % len(loop)
    return name, np.interp(position, np.arange(len(loop) + 1), np.append(loop, loop[0]))
