"""One song of the procedural corpus: drawn, made and written from its seed alone.

Each part draws from a generator of its own that is seeded by source, split, seed and
part. So a song depends on nothing that was made before it, and a change in how one
stem is made leaves the others as they were.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import random
import shutil

import numpy as np
import sound_files

from corpus import mix, music, recorded, render, scores, singer, speakers, synth, voices
from corpus.sources import RATE, STEMS
from corpus.speakers import REAL_SPEAKERS, SPEAKERS
from util import UserError

RECORD = "song.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """A song to make.

    Attributes:
        source: "scores" (four stems) or "music" (vocals over a produced track).
        split: One of `sources.SPLITS`; "real" with "music" only.
        seed: From 0 on.
        seconds: Length.
        cache: Folder of the analysed voices.
        speech: Seconds of speech analysed per speaker.
        instruments: Folder of the recorded instruments, for training songs; None for
            songs without them.
    """

    source: str
    split: str
    seed: int
    seconds: float
    cache: pathlib.Path
    speech: float
    instruments: pathlib.Path | None = None

    def rng(self, part: str) -> random.Random:
        """The generator of one part of the song."""
        return random.Random(f"{self.source}/{self.split}/{self.seed}/{part}")

    @property
    def held_out(self) -> bool:
        """Whether no training song may share its speaker, banks and scores."""
        return self.split != "train"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is drawn before anything is made: enough to name the song."""

    kind: str  # "mma", "doom" or "music"
    speaker: str
    style: str  # "sung", "said" or "both"

    def name(self, seed: int) -> str:
        """The song's folder, such as `mma-00012-june-fr-sung`."""
        return f"{self.kind}-{seed:05d}-{self.speaker}-{self.style}"


def draw_plan(job: Job) -> Plan:
    """Draws kind, speaker and style of a song."""
    rng = job.rng("plan")
    kind = "music"
    if job.source == "scores":
        kind = "mma" if rng.random() < 0.7 else "doom"
    style = rng.choice(("said", "both")) if rng.random() < 0.4 else "sung"
    names = speakers.speakers(job.split)
    if style != "sung":
        names = [name for name in names if SPEAKERS[name].phrases]
    if job.split == "real":  # recorded people, as they were recorded
        style, names = "said", list(REAL_SPEAKERS)
    return Plan(kind, rng.choice(names), style)


def make_drums(job: Job, events: list[scores.Event]) -> tuple[str, np.ndarray]:
    """Plays the drums on a bank, a kit or as a loop; returns what on, and them."""
    rng = job.rng("drums")
    choice = rng.random()
    if choice < 0.07:
        return render.play_loop(rng, job.seconds, job.held_out)
    if choice < 0.55:
        name, hits = render.draw_kit(rng, job.held_out)
        return name, render.play_hits(events, rng, job.seconds, hits)
    bank = render.draw_bank(rng, "drums", job.held_out)
    return bank, render.play_bank(events, rng, "drums", job.seconds, bank)


def make_pitched(
    job: Job, stem: str, events: list[scores.Event]
) -> tuple[str, np.ndarray]:
    """Plays bass or the rest on a bank or on a drawn instrument.

    In a few songs a recorded guitar is the rest. Returns what on, and the stem.
    """
    rng = job.rng(stem)
    choice = rng.random()
    if not job.held_out and choice < {"bass": 0.35, "other": 0.12}[stem]:
        return "synthetic", synth.play_patch(events, rng, stem, job.seconds)
    if not job.held_out and stem == "other" and choice < 0.18:
        return music.draw_guitar(rng, job.seconds)
    bank = render.draw_bank(rng, stem, job.held_out)
    return bank, render.play_bank(events, rng, stem, job.seconds, bank)


def add_recorded(
    job: Job,
    part: dict[str, list[scores.Event]],
    banks: dict[str, str],
    stems: dict[str, np.ndarray],
) -> None:
    """Lets recorded instruments play what they are drawn for, in place of others."""
    folder = job.instruments
    if folder is None or job.held_out:
        return
    drums = recorded.draw_percussion(
        job.rng("recorded/drums"), part["drums"], folder, job.seconds
    )
    if drums:
        name, waveform = drums
        rng = job.rng("recorded/drums/blend")
        alone = rng.random() < 0.3
        banks["drums"] = name if alone else f"{banks['drums']}+{name}"
        stems["drums"] = (
            waveform if alone else recorded.blend(waveform, stems["drums"], rng, 6)
        )
    bass = recorded.draw_bass(
        job.rng("recorded/bass"), part["bass"], folder, job.seconds
    )
    if bass:
        banks["bass"], stems["bass"] = bass
    lead = recorded.draw_lead(
        job.rng("recorded/other"), part["other"], folder, job.seconds
    )
    if lead:
        name, waveform, rest = lead
        if any(scores.is_onset(event.message) for event in rest):
            others, accompanying = make_pitched(job, "other", rest)
            rng = job.rng("recorded/other/blend")
            waveform = recorded.blend(waveform, accompanying, rng, 6)
            name = f"{others}+{name}"
        banks["other"], stems["other"] = name, waveform


def make_instruments(
    job: Job, kind: str
) -> tuple[dict[str, object], dict[str, np.ndarray], list[scores.Chord], float]:
    """The song without its singer.

    Returns:
        What it was made from (for the manifest), stems, chords and beat.
    """
    if job.source == "music":
        name, start, piece = music.draw_piece(
            job.rng("track"), job.split, job.seed, job.seconds
        )
        made = {"score": name, "start": round(start, 3)}
        return made, {"other": piece}, music.audio_chords(piece), 0.5
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


def make(job: Job) -> tuple[dict[str, object], np.ndarray, np.ndarray]:
    """Makes a song.

    Returns:
        Its record for the manifest, stems (4, samples) in the order of `STEMS` and
        their sum (samples,), int16.
    """
    plan = draw_plan(job)
    made, stems, chords, beat = make_instruments(job, plan.kind)
    clips = voices.load(plan.speaker, job.cache, job.speech)
    stems["vocals"] = singer.vocals(
        clips, job.rng("vocals"), plan.style, chords, beat, job.seconds
    )
    rows = np.zeros((len(STEMS), int(job.seconds * RATE)))
    for row, stem in zip(rows, STEMS):
        if stem in stems:
            produced = job.source == "music" and stem == "other"
            treat = mix.polish if produced else mix.effects
            row[:] = treat(stems[stem], job.rng(f"effects/{stem}"), stem)
    master = None if job.held_out else job.rng("master")
    whole, mixture = mix.mix(rows, job.rng("mix"), strict=job.held_out, master=master)
    levels = mix.relative_levels(whole)
    record: dict[str, object] = {
        "name": plan.name(job.seed),
        "split": job.split,
        "source": job.source,
        "seed": job.seed,
        "seconds": job.seconds,
        "kind": plan.kind,
        "speaker": plan.speaker,
        "person": SPEAKERS[plan.speaker].person,
        "style": plan.style,
        **made,
        "levels_db": {
            stem: round(float(level), 2)
            for stem, level, row in zip(STEMS, levels, whole)
            if row.any()
        },
    }
    return record, whole, mixture


def write(job: Job, folder: pathlib.Path) -> str:
    """Makes a song and writes it as FOLDER/<split>/<name>/, unless it is there.

    It is written outside the split's folder and moved there when complete, so that
    who reads the folder never meets half a song.

    Returns:
        The song's name.

    Raises:
        UserError: Something else is in its place, or it cannot be written.
    """
    name = draw_plan(job).name(job.seed)
    target = folder / job.split / name
    if target.exists():
        if not (target / RECORD).exists():
            raise UserError(f"{target}: expected a song or nothing there; remove it")
        return name
    record, stems, mixture = make(job)
    partial = folder / f".{job.split}-{name}-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process of that number
    try:
        partial.mkdir(parents=True)
        target.parent.mkdir(exist_ok=True)
        for stem, waveform in [*zip(STEMS, stems), ("mixture", mixture)]:
            file = f"{stem}.wav"
            sound_files.write(partial / file, waveform, RATE, final=target / file)
        (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return name
