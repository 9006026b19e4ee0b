"""Makes a data set of real songs: a teacher splits them into vocals and the rest.

    python data/label_songs.py SONGS OUT
    python data/label_songs.py SONGS OUT --teacher 'my-separator' --about my.csv

A teacher is a separator that is better than the network to train. What it makes are
pseudo-stems: good enough to learn from, and told from true ones by `song.json`. Each
song of the folder SONGS, in any format that FFmpeg plays, becomes pieces of about 30 s,
`OUT/train/<song>-<piece>/` or `OUT/validation/...`, each with mixture.wav, vocals.wav,
accompaniment.wav (the mixture less the vocals, to the sample) and song.json. A piece
is there entirely or not at all, and one that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import logging
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from sswavenet.console import packages

with packages.required():
    import numpy as np
    import songs
    import sound_files
    import teachers
    import tqdm
    from scipy.signal import resample_poly

from sswavenet.console import run
from sswavenet.console.parser import described
from util import UserError

STEMS = ("mixture", "vocals", "accompaniment")
RECORD = "song.json"
PEAK = 0.99
MONO_RATE = 16000  # Hz, of the networks
LONGEST = 3600  # seconds of a piece
DATA = pathlib.Path(__file__).parent

logger = logging.getLogger("label_songs")


def borders(num_frames: int, piece_frames: int) -> list[int]:
    """Where pieces of equal length, near to the one asked for, begin and end."""
    count = max(1, round(num_frames / piece_frames))
    return [round(k * num_frames / count) for k in range(count + 1)]


def quantised(mixture: np.ndarray, vocals: np.ndarray) -> dict[str, np.ndarray]:
    """The stems of a song, (frames, channels), full scale 1, in 16 bits by `STEMS`.

    Vocals and accompaniment add up to the mixture, to the sample. What would clip is
    made quieter, the whole song alike.
    """
    stems = (mixture, vocals, mixture - vocals)
    loudest = max(float(np.abs(stem).max(initial=0)) for stem in stems)
    gain = 32767 * min(1.0, PEAK / loudest if loudest else 1.0)
    whole = [np.round(stem * gain).astype(np.int16) for stem in stems[:2]]
    return dict(zip(STEMS, [*whole, whole[0] - whole[1]]))


def label(
    song: songs.Song,
    out: pathlib.Path,
    teacher: teachers.Teacher,
    *,
    piece_seconds: float,
    stereo: bool,
) -> int:
    """Makes the pieces of a song that are not there yet; returns how many it has.

    A piece has about `piece_seconds`. In stereo the stems keep both channels, at 44.1
    kHz. Raises UserError where the song cannot be decoded, the teacher fails, a piece
    cannot be written, or something else is in its place, or it is in another split.
    """
    for split in songs.SPLITS:
        there = out / split / f"{song.name}-01"
        if split != song.split and there.exists():
            raise UserError(
                f"{there}: this song is to be in {song.split}; remove its pieces there"
            )
    mixture = songs.decode(song.path)
    rate, channels = (songs.RATE, 2) if stereo else (MONO_RATE, 1)
    edges = borders(len(mixture), int(piece_seconds * songs.RATE))
    edges = [edge * rate // songs.RATE for edge in edges]
    pieces = [out / song.split / f"{song.name}-{k:02d}" for k in range(1, len(edges))]
    for k, piece in enumerate(pieces):
        if piece.exists():
            check_piece(piece, (rate, channels, edges[k + 1] - edges[k]))
    if all(piece.exists() for piece in pieces):
        return len(pieces)
    both = [mixture, teacher.vocals(mixture)]
    if not stereo:
        common = np.gcd(songs.RATE, rate)
        up, down = rate // common, songs.RATE // common
        both = [resample_poly(y.mean(axis=1, keepdims=True), up, down) for y in both]
    stems = quantised(*both)
    record = {**song.record, "teacher": teacher.name, "pseudo_stems": True}
    for k, piece in enumerate(pieces):
        start, stop = edges[k : k + 2]
        part = {stem: samples[start:stop] for stem, samples in stems.items()}
        more = {"piece": k + 1, "start_seconds": round(start / rate, 3)}
        write_piece(piece, part, rate, {**record, **more})
    return len(pieces)


def check_piece(piece: pathlib.Path, form: tuple[int, int, int]) -> None:
    """Refuses what is in a piece's place, unless it is one of that form.

    That is its rate, channels and frames.
    """
    if not (piece / RECORD).is_file():
        raise UserError(f"{piece}: expected a piece or nothing there; remove it")
    mixture, rate = sound_files.read(piece / "mixture.wav", "int16")
    if (rate, mixture.shape[1], len(mixture)) != form:
        raise UserError(
            f"{piece}: made of another song, or with other --seconds or --stereo; "
            "remove the pieces of this song"
        )


def write_piece(
    piece: pathlib.Path,
    stems: Mapping[str, np.ndarray],
    rate: int,
    record: Mapping[str, Any],
) -> None:
    """Writes one piece, all or nothing, unless it is there."""
    if piece.exists():
        return
    try:
        with sound_files.whole_folder(piece) as unfinished:
            for stem, samples in stems.items():
                file = f"{stem}.wav"
                sound_files.write(unfinished / file, samples, rate, final=piece / file)
            text = json.dumps(record, indent=1, ensure_ascii=False)
            (unfinished / RECORD).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {piece}: {error.strerror or error}") from None


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = described(__doc__)
    add = parser.add_argument
    add("songs", type=pathlib.Path, help="folder of songs, searched to its depth")
    add("out", type=pathlib.Path, help="folder of the data set")
    add(
        "--teacher",
        default=f".venv-teacher/bin/python {DATA / 'spleeter_teacher.py'}",
        help="a command, which is given the names of a WAV file to read (stereo, "
        "44.1 kHz) and of the one to write its vocals to; or a Python function "
        "MODULE:FUNCTION, which gives the vocals (frames, 2) of a mixture (frames, 2) "
        "at 44.1 kHz; default: %(default)s, which `make teacher` installs",
    )
    add(
        "--about",
        type=pathlib.Path,
        default=DATA / "songs.csv",
        help="a table with the columns file, split, artist, title, licence and source "
        "(a file may be a pattern such as 'Jonathan_*'); what it leaves open comes "
        "from the songs' own tags, and the split is then train; default: %(default)s",
    )
    add("--seconds", type=float, default=30.0, help="of a piece, about; default 30")
    add("--stereo", action="store_true", help="44.1 kHz stereo, not mono at 16 kHz")
    options = parser.parse_args(argv)
    if not 5 <= options.seconds <= LONGEST:
        parser.error(f"expected 5 to {LONGEST} seconds, got {options.seconds}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Labels the songs of a folder; returns the exit status."""
    options = parse(argv)

    def work() -> int:
        found = songs.find(options.songs, options.about)
        teacher = teachers.find(options.teacher)
        pieces = failed = 0
        # disable=None: no bar where stderr is no terminal.
        for song in tqdm.tqdm(found, unit="song", disable=None):
            try:
                pieces += label(
                    song,
                    options.out,
                    teacher,
                    piece_seconds=options.seconds,
                    stereo=options.stereo,
                )
            except UserError as error:  # one bad file does not stop the others
                failed += 1
                logger.error("%s", error)
        logger.info(
            "%s: %d pieces of %d songs, %d failed",
            options.out,
            pieces,
            len(found) - failed,
            failed,
        )
        return 1 if failed else 0

    return run.run(work)


if __name__ == "__main__":
    sys.exit(main())
