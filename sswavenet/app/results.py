"""What a page shows of a separation, as HTML; texts of visitors never become any."""

from __future__ import annotations

import pathlib
import shlex
import urllib.parse
from collections.abc import Sequence

import util
from sswavenet.app.jobs import MIXTURE, Job
from sswavenet.app.songs import Song
from sswavenet.console.tables import cell
from sswavenet.page.player import Track, escape, player
from sswavenet.sound.formats import Encoding

LINKS = "stems"  # the first part of the links to a job's files


def progress(stage: str, fraction: float | None = None) -> str:
    """How far a separation is: from 0 to 1, None where nobody can say."""
    value = "" if fraction is None else f' value="{fraction:.3f}"'
    percent = "" if fraction is None else f" {100 * fraction:.0f} %"
    return (
        f'<div class="working"><label><span role="status">{escape(stage)}</span>'
        f'{percent}<progress max="1"{value}></progress></label></div>'
    )


def problem(text: str) -> str:
    """What went wrong."""
    return f'<p class="problem" role="alert">{escape(text)}</p>'


def describe(song: Song | None) -> str:
    """What is to be separated next."""
    if song is None:
        return ""
    name, facts = escape(song.name), escape(song.description)
    return f'<p class="song" role="status"><b>{name}</b> <span>{facts}</span></p>'


def link(job: Job, name: str) -> str:
    """Where a file of a job is served."""
    return f"{LINKS}/{job.token}/{urllib.parse.quote(name)}"


def done(job: Job) -> str:
    """That a job is over."""
    return f'<p class="done" role="status">Separated in {job.seconds:.1f} s</p>'


def results(job: Job) -> str:
    """The players, the downloads and the scores of what was separated."""
    if job.report is None:
        return ""
    tracks = [
        Track(
            MIXTURE,
            link(job, job.mixture.name),
            job.sketches[MIXTURE],
            is_mixture=True,
        )
    ]
    files = []
    for name, stem in job.report.stems.items():
        file = pathlib.Path(stem.path)
        tracks.append(
            Track(name, link(job, file.name), job.sketches[name], clipped=stem.clipped)
        )
        size = _in_megabytes(file.stat().st_size)
        files.append(
            f'<li><a href="{link(job, file.name)}" download>{escape(name)}'
            f"<span> {escape(file.suffix[1:])}, {size}</span></a></li>"
        )
    warnings = "".join(f"<li>{escape(text)}</li>" for text in job.report.warnings)
    return f"""\
<section class="results" aria-label="Stems of {escape(job.song.name)}">
<h2>{escape(job.song.title)}</h2>
{f'<ul class="warnings">{warnings}</ul>' if warnings else ""}
{player(tracks, title=job.song.title)}
<h3>Download</h3>
<ul class="downloads">{"".join(files)}
<li class="all"><a href="{link(job, "all.zip")}" download>all stems<span> zip</span></a>
</li></ul>
{_table(job.scores)}
</section>
"""


def command_line(song: Song | None, session: str, encoding: Encoding) -> str:
    """The command that does the same."""
    words = ["python", "main.py"] if util.__name__ == "util" else ["sswavenet"]
    place = song.name if song else "song.mp3"
    if song and song.is_example:
        place = f"audio/{place}"
    words += [f"./{place}" if place.startswith("-") else place, "--session", session]
    if encoding.form != "wav":
        words += ["--format", encoding.form]
    if not encoding.is_lossy and encoding.subtype != "PCM_16":
        words += ["--subtype", encoding.subtype]
    return shlex.join(words)


def to_copy(line: str) -> str:
    """A command line with a button that copies it."""
    return (
        '<section aria-label="Command line"><h3>The same on the command line</h3>'
        '<div class="line"><pre tabindex="0"><code>'
        f'{escape(line)}</code></pre><button type="button" class="copy">Copy</button>'
        "</div></section>"
    )


def _in_megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def _table(rows: Sequence[dict]) -> str:
    """Rows as a table, with the figures that a terminal shows."""
    if not rows:
        return ""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in rows[0])
    lines = []
    for row in rows:
        cells = "".join(
            f'<td class="figure">{cell(value)}</td>'
            if isinstance(value, float)
            else f"<td>{escape(cell(value))}</td>"
            for value in row.values()
        )
        lines.append(f"<tr>{cells}</tr>")
    return (
        '<h3>Against the references</h3><div class="scores"><table><thead><tr>'
        f"{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )
