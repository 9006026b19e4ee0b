"""One song of the procedural corpus: drawn, made and written from its seed alone.

Each part draws from a generator of its own that is seeded by source, split, seed and
part. So a song depends on nothing that was made before it, and a change in how one
stem is made leaves the others as they were.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil

import numpy as np
import sound_files

from corpus import band, mix, singer, voices
from corpus.job import Job, draw_plan
from corpus.sources import RATE, RECORD, STEMS
from corpus.speakers import SPEAKERS
from util import UserError

# Files by stem. A produced track has its drums and bass in it, where nobody knows them.
FILES = {
    "scores": {stem: stem for stem in STEMS},
    "music": {"vocals": "vocals", "other": "accompaniment"},
}


def make(job: Job) -> tuple[dict[str, object], np.ndarray, np.ndarray]:
    """Makes a song: its record for the manifest, stems and their sum, int16.

    Stems are (4, samples) in the order of `STEMS`, with two channels before the samples
    in stereo.
    """
    plan = draw_plan(job)
    made, stems, chords, beat = band.make_instruments(job, plan.kind)
    clips = voices.load(plan.speaker, job.cache, job.speech)
    sung = singer.vocals(
        clips, job.rng("vocals"), plan.style, chords, beat, job.seconds
    )
    sung = voices.resampled(sung, RATE, job.rate)
    stems["vocals"] = job.place(sung, "vocals", 0)
    length = int(job.seconds * job.rate)
    shape = (length,) if job.channels == 1 else (job.channels, length)
    rows = np.zeros((len(STEMS), *shape))
    for row, stem in zip(rows, STEMS):
        if stem in stems:
            produced = job.source == "music" and stem == "other"
            treat = mix.polish if produced else mix.effects
            row[:] = treat(stems[stem], job.rng(f"effects/{stem}"), stem, job.rate)
    master = None if job.held_out else job.rng("master")
    whole, mixture = mix.mix(
        rows, job.rng("mix"), strict=job.held_out, rate=job.rate, master=master
    )
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
            FILES[job.source][stem]: round(float(level), 2)
            for stem, level, row in zip(STEMS, levels, whole)
            if row.any()
        },
    }
    return record, whole, mixture


def write(job: Job, folder: pathlib.Path) -> str:
    """Makes a song and writes it as FOLDER/<split>/<name>/, unless it is there.

    It is written outside the split's folder and moved there when complete, so that who
    reads the folder never meets half a song. Returns the song's name. Raises UserError
    where something else is in its place, or it cannot be written.
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
        waves = dict(zip(STEMS, stems))
        files = {name: waves[stem] for stem, name in FILES[job.source].items()}
        for name, waveform in {**files, "mixture": mixture}.items():
            file = f"{name}.wav"
            sound_files.write(partial / file, waveform.T, job.rate, final=target / file)
        (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return name
