"""A page of what a run did: to listen to, to look at, and to pass on.

What is made of each file waits in a temporary file until the run is over, so that
memory does not grow with the number of files.
"""

from __future__ import annotations

import mimetypes
import os
import pathlib
import tempfile
import urllib.parse
from collections.abc import Mapping
from typing import Any

import util
from sswavenet.console import flags
from sswavenet.page import player
from sswavenet.page.player import Track, escape
from sswavenet.page.sketch import Sketch, sketch
from sswavenet.separation.excerpt import Excerpt
from sswavenet.separation.report import SEPARATED, FileReport, versions
from sswavenet.sound.reader import AudioReader
from util import UserError

# Of audio that is put into a page; what is more is played from beside it.
EMBEDDED_BYTES = 20000000
COPIED = 2**20  # characters at a time


class Picture:
    """A page that grows file by file. A context manager; `write` is its last call.

    Args:
        path: where it is to be; its links lead from there.
        excerpt: the part of each mixture that is separated.
    """

    def __init__(self, path: os.PathLike, excerpt: Excerpt):
        self._path = pathlib.Path(path).absolute()
        self._excerpt = excerpt
        self._left = EMBEDDED_BYTES
        self._entries: list[str] = []  # of the list of files
        self._title = ""  # of the last of them
        # Names may be in no encoding; what is written of them is text.
        self._sections = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115

    def __enter__(self) -> Picture:
        """Give the picture itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget what waits."""
        self._sections.close()

    def add(self, found: FileReport) -> None:
        """Show what became of a mixture, from its files as they are now."""
        number = len(self._entries) + 1
        title = escape(pathlib.PurePath(found.path).stem)
        self._title = title
        self._entries.append(
            f'<li><a href="#file-{number}">{title}</a> <span>{found.status}</span></li>'
        )
        if found.status == SEPARATED:
            try:
                shown = self._players(found)
            except (OSError, UserError) as error:  # somebody has moved its files
                shown = _problem(f"nothing can be played: {error}")
            shown += _facts_of(found)
        else:
            shown = _problem(found.message or "its stems were there already")
        warnings = "".join(f"<li>{escape(text)}</li>" for text in found.warnings)
        self._sections.write(
            f'<section class="results" id="file-{number}" aria-label="{title}">\n'
            f"<h2>{title}</h2>\n"
            + (f'<ul class="warnings">{warnings}</ul>\n' if warnings else "")
            + f"{shown}</section>\n"
        )

    def write(self, facts: Mapping[str, Any]) -> None:
        """Write the page, with what holds for the whole run.

        A page that exists is replaced. Raises UserError where it cannot be written.
        """
        count = len(self._entries)
        title = f"Stems of {self._title if count == 1 else f'{count} files'}"
        self._sections.seek(0)
        place = self._path.resolve()  # also at the end of a link
        with util.replacing(place) as new, new.open("w", encoding="utf-8") as file:
            file.write(
                '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
                '<meta name="viewport" content="width=device-width">\n'
                f"<title>{title}</title>\n<style>{player.PAGE_STYLE}</style>\n"
                f'</head>\n<body class="picture">\n<main>\n<h1>{title}</h1>\n'
            )
            if count > 1:
                file.write(f'<ol class="files">{"".join(self._entries)}</ol>\n')
            while text := self._sections.read(COPIED):
                file.write(text)
            file.write(
                f"{_facts_of_run(facts)}</main>\n{player.code()}</body>\n</html>\n"
            )

    def _players(self, found: FileReport) -> str:
        """The mixture and its stems in sync."""
        mixture, start, look = self._look_at_mixture(found)
        looks = {}
        for name, stem in found.stems.items():
            with AudioReader(pathlib.Path(stem.path)) as reader:
                looks[name] = sketch(
                    reader.blocks(),
                    frames=reader.frames,
                    sample_rate=reader.sample_rate,
                )
        paths = [mixture, *(pathlib.Path(stem.path) for stem in found.stems.values())]
        size = sum(path.stat().st_size for path in paths)
        embed = size <= self._left
        if embed:
            self._left -= size
        tracks = [
            self._track("mixture", mixture, look, embed, start=start, is_mixture=True)
        ]
        tracks += [
            self._track(
                name, pathlib.Path(stem.path), looks[name], embed, clipped=stem.clipped
            )
            for name, stem in found.stems.items()
        ]
        return player.player(tracks, title=pathlib.PurePath(found.path).stem)

    def _look_at_mixture(self, found: FileReport) -> tuple[pathlib.Path, float, Sketch]:
        """The mixture, the second at which its stems begin, and their part of it."""
        path = pathlib.Path(found.path)
        frames = max((stem.frames for stem in found.stems.values()), default=0)
        rate = found.sample_rate or 1
        # The framing of 2018 leaves out as much at the beginning as at the end.
        start = self._excerpt.start + ((found.frames or 0) - frames) / 2 / rate
        with AudioReader(path) as reader:
            first = round(start * reader.sample_rate)
            reader.select(first, first + round(frames / rate * reader.sample_rate))
            look = sketch(
                reader.blocks(), frames=reader.frames, sample_rate=reader.sample_rate
            )
        return path, start, look

    def _track(
        self, name: str, path: pathlib.Path, look: Sketch, embed: bool, **more: Any
    ) -> Track:
        link = self._link_to(path)
        if not embed:
            return Track(name, link, look, link=link, **more)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return Track(name, player.data_url(path.read_bytes(), kind), look, **more)

    def _link_to(self, path: pathlib.Path) -> str:
        """A file as the page links to it."""
        place = os.path.relpath(path.absolute(), self._path.parent)
        return urllib.parse.quote(os.fsencode(place.replace(os.sep, "/")))


def _problem(text: str) -> str:
    return f'<p class="problem">{escape(text)}</p>\n'


def _facts_of(found: FileReport) -> str:
    """What the report says of a file's stems."""
    rows = [
        (name, pathlib.PurePath(stem.path).name, stem.frames, stem.clipped, stem.sha256)
        for name, stem in found.stems.items()
    ]
    # Files in several folders may have one name.
    summary = (
        f"{found.path}, {found.sample_rate} Hz, separated in {found.seconds:.1f} s"
    )
    heads = ("Stem", "File", "Samples", "Clipped", "SHA-256 of its samples")
    return _details(summary, _table(heads, rows))


def _facts_of_run(facts: Mapping[str, Any]) -> str:
    """What holds for the whole run."""
    arguments = {
        "MIXTURE" if name == "mixtures" else f"--{name}": value
        for name, value in facts["arguments"].items()
        if value not in (None, False, [])
        and flags.FILES in flags.WORKS_WITH.get(name, (flags.FILES,))
    }
    rows: list[tuple[Any, ...]] = [
        ("Weights", facts["checkpoint"]["path"]),
        ("SHA-256 of the weights", facts["checkpoint"]["sha256"]),
        *arguments.items(),
        *versions().items(),
        *((f"Left out: {each['path']}", each["reason"]) for each in facts["left_out"]),
    ]
    summary = "How this was made" if facts["complete"] else "Stopped before its end"
    return _details(summary, _table((), rows))


def _details(summary: str, content: str) -> str:
    return (
        f"<details><summary>{escape(summary)}</summary>"
        f'<div class="scores" tabindex="0">{content}</div></details>\n'
    )


def _table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Rows as a table, of which the first cell names the row."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    lines = "".join(
        f'<tr><th scope="row">{escape(str(row[0]))}</th>'
        + "".join(f"<td>{escape(_words(value))}</td>" for value in row[1:])
        + "</tr>"
        for row in rows
    )
    thead = f"<thead><tr>{head}</tr></thead>" if heads else ""
    return f"<table>{thead}<tbody>{lines}</tbody></table>"


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
