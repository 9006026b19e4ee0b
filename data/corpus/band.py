"""The instruments of a song: what plays which part, and the parts played."""

from __future__ import annotations

import random

import numpy as np

from corpus import music, recorded, render, scores, synth
from corpus.job import Job
from corpus.sources import STEMS

# How far from the middle a part may stand in a stereo song, from 0 to 1.
WIDTHS = {"bass": 0.0, "other": 0.6}


def make_drums(job: Job, events: list[scores.Event]) -> tuple[str, np.ndarray]:
    """Plays the drums on a bank, a kit or as a loop; returns what on, and them."""
    rng = job.rng("drums")
    choice = rng.random()
    if choice < 0.07:
        name, loop = render.play_loop(rng, job.seconds, job.held_out, job.rate)
        return name, job.place(loop, "drums", 0)
    if choice < 0.55:
        name, hits = render.draw_kit(rng, job.held_out, job.rate)
        return name, render.play_hits(
            events, rng, job.seconds, hits, job.rate, job.channels
        )
    bank = render.draw_bank(rng, "drums", job.held_out)
    return bank, play_bank(job, events, rng, "drums", bank)


def play_bank(
    job: Job, events: list[scores.Event], rng: random.Random, stem: str, bank: str
) -> np.ndarray:
    """See `render.play_bank`."""
    return render.play_bank(
        events, rng, stem, job.seconds, bank, job.rate, job.channels
    )


def make_pitched(
    job: Job, stem: str, events: list[scores.Event]
) -> tuple[str, np.ndarray]:
    """Plays bass or the rest on a bank or on a drawn instrument.

    In a few songs a recorded guitar is the rest. Returns what on, and the stem.
    """
    rng = job.rng(stem)
    choice = rng.random()
    if not job.held_out and choice < {"bass": 0.35, "other": 0.12}[stem]:
        y = synth.play_patch(events, rng, stem, job.seconds, job.rate)
        return "synthetic", job.place(y, stem, WIDTHS[stem])
    if not job.held_out and stem == "other" and choice < 0.18:
        return music.draw_guitar(rng, job.seconds, job.rate, job.channels)
    bank = render.draw_bank(rng, stem, job.held_out)
    return bank, play_bank(job, events, rng, stem, bank)


def add_recorded(
    job: Job,
    part: dict[str, list[scores.Event]],
    banks: dict[str, str],
    stems: dict[str, np.ndarray],
) -> None:
    """Lets recorded instruments play what they are drawn for, in place of others."""
    if job.instruments is None or job.held_out:
        return
    take = recorded.Take(job.instruments, job.seconds, job.rate)
    drums = recorded.draw_percussion(job.rng("recorded/drums"), part["drums"], take)
    if drums:
        name, waveform = drums
        waveform = job.place(waveform, "percussion", 0.5)
        rng = job.rng("recorded/drums/blend")
        alone = rng.random() < 0.3
        banks["drums"] = name if alone else f"{banks['drums']}+{name}"
        stems["drums"] = (
            waveform
            if alone
            else recorded.blend(waveform, stems["drums"], rng, 6, job.rate)
        )
    bass = recorded.draw_bass(job.rng("recorded/bass"), part["bass"], take)
    if bass:
        banks["bass"], stems["bass"] = bass[0], job.place(bass[1], "bass", 0)
    lead = recorded.draw_lead(job.rng("recorded/other"), part["other"], take)
    if lead:
        name, waveform, rest = lead
        waveform = job.place(waveform, "lead", WIDTHS["other"])
        if any(scores.is_onset(event.message) for event in rest):
            others, accompanying = make_pitched(job, "other", rest)
            rng = job.rng("recorded/other/blend")
            waveform = recorded.blend(waveform, accompanying, rng, 6, job.rate)
            name = f"{others}+{name}"
        banks["other"], stems["other"] = name, waveform


def make_instruments(
    job: Job, kind: str
) -> tuple[dict[str, object], dict[str, np.ndarray], list[scores.Chord], float]:
    """The song without its singer: what it was made from, stems, chords and beat."""
    if job.source == "music":
        name, start, piece = music.draw_piece(
            job.rng("track"),
            job.split,
            job.seed,
            job.seconds,
            job.rate,
            job.channels,
        )
        made = {"score": name, "start": round(start, 3)}
        return made, {"other": piece}, music.audio_chords(piece, job.rate), 0.5
    score = scores.draw_score(job.rng("score"), kind, job.seconds, job.split)
    part = {stem: [e for e in score.events if e.stem == stem] for stem in STEMS[1:]}
    banks: dict[str, str] = {}
    stems: dict[str, np.ndarray] = {}
    banks["drums"], stems["drums"] = make_drums(job, part["drums"])
    for stem in ("bass", "other"):
        banks[stem], stems[stem] = make_pitched(job, stem, part[stem])
    add_recorded(job, part, banks, stems)
    made = {"score": "+".join(score.names), "banks": banks}
    return made, stems, score.chords, score.beat
