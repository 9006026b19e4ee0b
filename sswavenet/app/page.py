"""The page itself: what stands on it, and what happens when something is clicked."""

from __future__ import annotations

import logging
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import gradio as gr

import util
from sswavenet.app import results
from sswavenet.app.sessions import Sessions
from sswavenet.app.songs import Song, check_song
from sswavenet.app.visits import Visit, Visits
from sswavenet.evaluation.references import song_names
from sswavenet.page import player
from sswavenet.sound.formats import FORMATS, Encoding
from util import UserError

logger = logging.getLogger(__name__)


def _read(name: str) -> str:
    return (pathlib.Path(__file__).parent / name).read_text("utf-8")


HEAD = (
    # Of the players' style more counts than of Gradio's own.
    f"<style>.gradio-container.gradio-container {{{player.STYLE}}}</style>"
    f"<style>{player.PAGE_STYLE}{_read('style.css')}</style>"
    f"<script>{player.SCRIPT}{_read('page.js')}</script>"
)
# Beside util.py in the repository; an installed package has none.
AUDIO = pathlib.Path(util.__file__).resolve().parent / "audio"
STEP = 0.2  # seconds between two looks at how far a separation is
Changes = tuple[Any, Any, str, Any]  # of both buttons, the status and the results
# By what they are called on the page.
ENCODINGS = {
    **{
        f"{form}, {subtype}": Encoding(form, subtype)
        for form, known in FORMATS.items()
        for subtype in known.subtypes
    },
    **{form: Encoding(form) for form, known in FORMATS.items() if known.is_lossy},
}
GONE = "This page was closed here. Load it again."


class Page:
    """The page, as Gradio's blocks.

    Args:
        visits: who has it open.
        sessions: what there is to choose from.
        max_seconds: how long a song may be.
        max_bytes: how large its file may be, as the page tells.
        concurrency: how many songs are separated at a time; others wait.
    """

    def __init__(
        self,
        visits: Visits,
        sessions: Sessions,
        *,
        max_seconds: float,
        max_bytes: int,
        concurrency: int = 1,
    ):
        self._visits, self._sessions = visits, sessions
        self._max_seconds = max_seconds
        self._examples = song_names(AUDIO / "references")
        self.blocks = self._build(concurrency, max_bytes)
        self.blocks.queue(default_concurrency_limit=8, max_size=64, api_open=False)

    def _build(self, concurrency: int, max_bytes: int) -> gr.Blocks:
        labels = [(label, name) for label, name in self._sessions.labels.items()]
        asked = (
            f"Song or video, at most {self._max_seconds / 60:g} minutes and "
            f"{max_bytes / 1e6:g} MB"
        )
        with gr.Blocks(title="Take a song apart", analytics_enabled=False) as blocks:
            _html(
                "intro",
                "<h1>Take a song apart</h1><p>Into vocals, drums, bass and the rest. "
                "It stays on the machine that this page comes from, and is removed "
                "when you close the page.</p>",
            )
            with gr.Tabs():
                with gr.Tab("A file"):
                    file = gr.File(label=asked, height=150, elem_classes="drop")
                with gr.Tab("Record"):
                    microphone = gr.Audio(
                        sources=["microphone"],
                        type="filepath",
                        label="Recording",
                        buttons=[],
                    )
                with gr.Tab("Examples", visible=bool(self._examples)), gr.Row():
                    buttons = {
                        name: gr.Button(name.capitalize()) for name in self._examples
                    }
            song = _html("song-line")
            with gr.Row(elem_classes="choices"):
                session = gr.Dropdown(
                    labels, value=labels[0][1], label="Session", scale=3
                )
                # One choice, not two: Gradio fails where an open list becomes shorter.
                forms = list(ENCODINGS)
                form = gr.Dropdown(forms, value=forms[0], label="Format")
            with gr.Row(elem_classes="go"):
                go = gr.Button("Separate", variant="primary", scale=4)
                stop = gr.Button("Stop", scale=1, visible=False)
            status = _html("status")
            shown = _html("shown")
            command = _html("command", _command(None, labels[0][1], forms[0]))

            options = [session, form]
            seen = {
                "show_progress": "hidden",
                "queue": False,
                "api_visibility": "private",
            }
            blocks.load(self._begin, None, None, **seen)
            blocks.unload(self._leave)
            brought = [song, status, command]
            for component, event in (
                (file, file.upload),
                (microphone, microphone.stop_recording),
                (microphone, microphone.upload),
            ):
                event(self._take_upload, [component, *options], brought, **seen)
            file.clear(self._forget, options, brought, **seen)
            microphone.clear(self._forget, options, brought, **seen)
            for name, button in buttons.items():
                button.click(self._example_taker(name), options, brought, **seen)
            for choice in options:
                choice.change(self._command, options, command, **seen)
            changing = [go, stop, status, shown]
            go.click(self._enter, None, changing, **seen).then(
                self._separate,
                options,
                changing,
                concurrency_limit=concurrency,
                show_progress="hidden",
                api_visibility="private",
            )
            # Not cancelled: what was under way then could still come after "stopped".
            stop.click(self._stop, None, changing, **seen)
        return blocks

    def _begin(self, request: gr.Request) -> None:
        self._visits.begin(request.session_hash)

    def _leave(self, request: gr.Request) -> None:
        self._visits.leave(request.session_hash)

    def _take_upload(
        self, path: str | None, session: str, form: str, request: gr.Request
    ) -> tuple[str, str, str]:
        """A file or a recording came."""
        visit, name = self._visits.get(request.session_hash), None
        if path is not None:
            name = self._visits.claim(pathlib.Path(path))
        if visit is None or path is None or name is None:
            return "", results.problem(GONE), ""
        return self._bring(visit, pathlib.Path(path), name, session, form)

    def _example_taker(self, name: str) -> Any:
        """What the button of an example does."""

        def take(session: str, form: str, request: gr.Request) -> tuple[str, str, str]:
            visit = self._visits.get(request.session_hash)
            if visit is None:
                return "", results.problem(GONE), ""
            path = AUDIO / f"{name}.flac"
            references = AUDIO / "references"
            return self._bring(visit, path, path.name, session, form, references)

        return take

    def _bring(
        self,
        visit: Visit,
        path: pathlib.Path,
        name: str,
        session: str,
        form: str,
        references: pathlib.Path | None = None,
    ) -> tuple[str, str, str]:
        """Look into a file, and say what is to be separated or what is wrong."""
        try:
            song = check_song(
                path, name, max_seconds=self._max_seconds, references=references
            )
        except UserError as error:
            visit.song = None
            if references is None:
                shutil.rmtree(path.parent, ignore_errors=True)
            return "", results.problem(str(error)), _command(None, session, form)
        visit.song = song
        return results.describe(song), "", _command(song, session, form)

    def _forget(
        self, session: str, form: str, request: gr.Request
    ) -> tuple[str, str, str]:
        """The song was taken away."""
        visit = self._visits.get(request.session_hash)
        if visit is not None:
            visit.song = None
        return "", "", _command(None, session, form)

    def _command(self, session: str, form: str, request: gr.Request) -> str:
        """The command line for what is chosen now."""
        visit = self._visits.get(request.session_hash)
        return _command(visit.song if visit else None, session, form)

    def _enter(self, request: gr.Request) -> Changes:
        """Somebody wants a song to be separated: others may come first."""
        visit = self._visits.get(request.session_hash)
        if visit is None:
            return _ready(results.problem(GONE))
        visit.is_waiting = True
        return _busy(results.progress("Waiting for its turn"))

    def _stop(self, request: gr.Request) -> Changes:
        visit = self._visits.get(request.session_hash)
        if visit is not None:
            visit.is_waiting = False
            if visit.job is not None:
                visit.job.stop()
        return _ready(results.problem("stopped"))

    def _separate(
        self, session: str, form: str, request: gr.Request
    ) -> Iterator[Changes]:
        """Separate the song, and tell how far that is."""
        visit = self._visits.get(request.session_hash)
        if visit is None or not visit.is_waiting:  # gone, or stopped and told so
            unchanged = (gr.skip(),) * 4
            yield unchanged if visit else _ready(results.problem(GONE))
            return
        visit.is_waiting = False
        try:
            job = visit.begin(
                session,
                _encoding(form),
                sessions=self._sessions,
                max_seconds=self._max_seconds,
            )
        except (UserError, OSError) as error:
            yield _ready(results.problem(str(error)))
            return
        try:
            yield _busy(results.progress(job.stage, 0.0), "")
            while not job.wait(STEP):
                yield _busy(results.progress(job.stage, job.fraction))
        finally:
            job.stop()
        if job.error:
            yield _ready(results.problem(job.error))
        else:
            yield _ready(results.done(job), results.results(job))


def _html(name: str, value: str = "") -> gr.HTML:
    """A place for HTML, with no style but that of the page."""
    return gr.HTML(value, elem_classes=name, apply_default_css=False)


def _busy(status: str, shown: Any = gr.skip()) -> Changes:  # noqa: B008 (a constant)
    """What the page shows while a song waits or is separated."""
    return gr.update(interactive=False), gr.update(visible=True), status, shown


def _ready(status: str, shown: Any = gr.skip()) -> Changes:  # noqa: B008
    """What it shows when a song may be separated."""
    return gr.update(interactive=True), gr.update(visible=False), status, shown


def _encoding(form: str) -> Encoding:
    """How the stems are to be stored.

    Raises:
        UserError: it is none of what the page offers.
    """
    if form not in ENCODINGS:
        raise UserError(f"expected a format that is offered, got {form}")
    return ENCODINGS[form]


def _command(song: Song | None, session: str, form: str) -> str:
    """The command line for what is chosen."""
    try:
        line = results.command_line(song, session, _encoding(form))
    except UserError:
        return ""
    return results.to_copy(line)
