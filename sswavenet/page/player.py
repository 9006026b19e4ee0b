"""A player for a mixture and its stems, as a piece of HTML.

It needs nothing from outside: no server, no font, no script of somebody else. All
tracks share one clock, each can be muted, heard alone and made softer, and everything
can be done with a keyboard. Without JavaScript every track still has the browser's own
player.
"""

from __future__ import annotations

import base64
import colorsys
import dataclasses
import html
import math
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from sswavenet.page.sketch import Sketch, decibels, to_png

_HERE = pathlib.Path(__file__).parent
STYLE = (_HERE / "player.css").read_text("utf-8")
# Of what stands around players.
PAGE_STYLE = (_HERE / "page.css").read_text("utf-8")
SCRIPT = (_HERE / "player.js").read_text("utf-8")

# Degrees of a colour circle; stems of other names get the rest in turn.
HUES = {"vocals": 338, "drums": 28, "bass": 268, "other": 168, "accompaniment": 168}
SPARE_HUES = (208, 98, 308, 58)
RANGE_DB = 70  # below the loudest point of all tracks, which a spectrogram shows
SHADES = 64  # of a spectrogram; more are hardly seen and take twice the room


@dataclasses.dataclass(frozen=True)
class Track:
    """One line of a player."""

    name: str  # what it is, as `vocals`
    source: str  # where its audio is: a `data:` URL, or a link, relative or not
    sketch: Sketch  # how it looks and how loud it is
    # Samples that were clipped as it was written; defaults to unknown
    clipped: int | None = None
    # Seconds into the audio at which the track begins, where it is a part of a longer
    # file
    start: float = 0.0
    # Whether it is what the others were made of; it is drawn in grey, and silent to
    # begin with, since the stems sum to it
    is_mixture: bool = False
    link: str = ""  # where the file can be had; defaults to nowhere


def data_url(content: bytes, media_type: str) -> str:
    """A URL that holds its file itself."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def escape(text: str) -> str:
    """Any text or file name as HTML, also within an attribute."""
    return html.escape(os.fsencode(text).decode("utf-8", "replace"))


def code() -> str:
    """What players need beside them, once: the script after the last of them."""
    return f"<style>{STYLE}</style><script>{SCRIPT}</script>"


def player(tracks: Sequence[Track], *, title: str) -> str:
    """A player, which works where `code` is on the same page, too.

    Waveforms and spectrograms have one scale for all tracks, so that a soft stem looks
    soft beside the mixture. The title says, for who cannot see it, what is played.
    """
    seconds = max((track.sketch.seconds for track in tracks), default=0.0)
    loudest = max((track.sketch.peak for track in tracks), default=0.0)
    pictures = [track.sketch.spectrogram for track in tracks]
    brightest = max((float(p.max()) for p in pictures if p is not None), default=0.0)
    if not loudest:
        brightest = 0.0  # else the faintest of all would be the brightest, too
    hues = _hues(tracks)
    lines = (_line(track, hue, loudest, brightest) for track, hue in zip(tracks, hues))
    return f"""\
<stem-player class="stem-player" role="group" aria-label="Player of {escape(title)}"
 data-seconds="{seconds:.3f}">
<div class="sp-transport" hidden>
<button type="button" class="sp-play" aria-label="Play"><svg viewBox="0 0 24 24"
 aria-hidden="true"><path class="sp-if-paused" d="M7 4.5v15l12.5-7.5z"/><path
 class="sp-if-playing" d="M6.5 5h4v14h-4zM13.5 5h4v14h-4z"/></svg></button>
<input type="range" class="sp-seek" min="0" max="{seconds:.3f}" step="0.01" value="0"
 aria-label="Position">
<span class="sp-clock"><span class="sp-now">{_clock(0)}</span> /
 {_clock(seconds)}</span>
<span class="sp-status" role="status"></span>
</div>
<ol class="sp-tracks">
{"".join(lines)}</ol>
</stem-player>
"""


def _hues(tracks: Sequence[Track]) -> list[int | None]:
    """A colour for each track, none for the mixture."""
    spare, hues = 0, []
    for track in tracks:
        hue = HUES.get(track.name.removeprefix("no_"))
        if hue is None and not track.is_mixture:
            hue, spare = SPARE_HUES[spare % len(SPARE_HUES)], spare + 1
        hues.append(None if track.is_mixture else hue)
    return hues


def _line(track: Track, hue: int | None, loudest: float, brightest: float) -> str:
    """One track's row."""
    name, source = escape(track.name), escape(track.source)
    colour = "--sp-hue: 0; --sp-colour: 0%" if hue is None else f"--sp-hue: {hue}"
    label = f'<a href="{escape(track.link)}">{name}</a>' if track.link else name
    picture = ""
    if track.sketch.spectrogram is not None:
        png = _draw(track.sketch.spectrogram, hue, brightest)
        picture = (
            f'<img class="sp-spectrogram" src="{data_url(png, "image/png")}" '
            f'alt="Spectrogram of {name}" draggable="false">'
        )
    start = f' data-start="{track.start:.6f}"' if track.start else ""
    return f"""\
<li class="sp-track" style="{colour}">
<div class="sp-head"><span class="sp-name">{label}</span>
<span class="sp-controls" hidden><button type="button" class="sp-mute"
 aria-pressed="{str(track.is_mixture).lower()}" aria-label="Mute {name}">Mute</button>
<button type="button" class="sp-solo" aria-pressed="false"
 aria-label="Solo {name}">Solo</button>
<input type="range" class="sp-volume" min="0" max="100" value="100"
 aria-label="Volume of {name}"></span>
<span class="sp-levels">{_levels(track)}</span></div>
<div class="sp-lane" data-peaks="{_outline(track.sketch, loudest)}">{picture}</div>
<audio controls preload="none" src="{source}"{start} aria-label="{name}"></audio>
</li>
"""


def _outline(sketch: Sketch, loudest: float) -> str:
    """Peaks as bytes, of which 255 is the loudest of all tracks, in base64."""
    scaled = np.rint(sketch.peaks * (255 / (loudest or 1.0)))
    return base64.b64encode(scaled.astype(np.uint8).tobytes()).decode("ascii")


def _levels(track: Track) -> str:
    """How loud a track is, in words."""
    rms, peak = decibels(track.sketch.rms), decibels(track.sketch.peak)
    if math.isinf(peak):
        return "<span>silent</span>"
    parts = [f"{_number(rms)} dBFS RMS", f"{_number(peak)} dBFS peak"]
    if track.clipped is not None:
        parts.append(f"{track.clipped} clipped")
    return " ".join(f"<span>{part}</span>" for part in parts)


def _number(level: float) -> str:
    text = f"{level:.1f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else "0.0"


def _clock(seconds: float) -> str:
    """Minutes and seconds, as the script writes them."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _draw(levels: np.ndarray, hue: int | None, brightest: float) -> bytes:
    """A spectrogram as PNG, from black over its colour to white.

    On a light page the style turns dark to light and keeps the colour.
    """
    shades = (levels - brightest) / RANGE_DB + 1
    steps = np.rint(np.clip(shades, 0, 1) * (SHADES - 1)) * (255 // (SHADES - 1))
    palette = np.zeros((256, 3))
    for index in range(256):
        light = index / 255
        palette[index] = colorsys.hls_to_rgb((hue or 0) / 360, light, 0.6 * bool(hue))
    return to_png(steps.astype(np.uint8), np.rint(palette * 255).astype(np.uint8))
