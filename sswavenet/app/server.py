"""What answers the browser: the page, uploads, the stems, and who may ask.

Everything comes from here, nothing from the internet, and all that a visitor brings or
gets lies in one temporary folder.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import pathlib
import re
import shutil
from collections.abc import Sequence
from typing import Any

import fastapi
import gradio
from gradio.route_utils import GradioMultiPartParser, MultiPartException
from gradio.routes import file_upload_statuses
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from sswavenet.app import page
from sswavenet.app.results import LINKS
from sswavenet.app.songs import known_extension
from sswavenet.app.visits import Visits

# What a request may be larger than the file in it.
REQUEST_BYTES = 2**16
# What the page asks of Gradio. The rest of Gradio is not for visitors: among it is what
# takes in videos of any size and keeps them.
API = "/gradio_api/"
USED = re.compile(
    r"file=/.*|heartbeat/\w+|queue/(join|data)|run/predict|upload|upload_progress|"
    r"cancel|reset"
)
HEADERS = {
    # The browser itself sees to it that nothing comes from elsewhere, or goes there.
    "Content-Security-Policy": (
        "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' "
        "'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def build(
    blocks: gradio.Blocks, visits: Visits, *, max_bytes: int, guard: Guard
) -> Guard:
    """The application: the page's, and what else answers.

    Args:
        blocks: the page.
        visits: who has it open.
        max_bytes: of an upload.
        guard: who may ask; given back with the application in it.
    """
    # Gradio looks for work a thousand times a second and for news of it a hundred
    # times, which takes up to a tenth of a core for ever. As seldom as on Windows:
    queue = blocks._queue
    queue.sleep_when_free, queue.progress_update_sleep_when_free = 0.05, 0.1

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    # Before those of Gradio, which would give an upload its user's name and put two of
    # the same content into one place.
    @app.post(f"{API}upload")
    async def upload(request: Request, upload_id: str | None = None) -> Response:
        return await receive(request, visits, max_bytes, upload_id)

    @app.get(f"/{LINKS}/{{token}}/all.zip")
    def get_all(token: str) -> Response:
        job = visits.job(token)
        if job is None or job.report is None:
            return gone()
        name = f"{job.song.title}_stems.zip"
        return FileResponse(job.zipped(), media_type="application/zip", filename=name)

    @app.get(f"/{LINKS}/{{token}}/{{name}}")
    def get_stem(token: str, name: str) -> Response:
        job = visits.job(token)
        path = job.paths().get(name) if job else None
        if job is None or path is None:
            return gone()
        return FileResponse(path, filename=job.download_name(name))

    gradio.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        show_error=True,
        max_file_size=max_bytes,
        theme=theme(),
        head=page.HEAD,
    )
    guard.app = app
    return guard


def theme() -> Any:
    """Colours and fonts: those of the player, all of them here already."""
    fonts = {
        "font": ["system-ui", "sans-serif"],
        "font_mono": ["ui-monospace", "monospace"],
    }
    return gradio.themes.Base(**fonts, radius_size="md", spacing_size="md")


def gone() -> Response:
    """The answer where there is nothing, or nothing any more."""
    return PlainTextResponse(
        "This is not here any more: it was removed when its page was closed.",
        status_code=404,
    )


async def receive(
    request: Request, visits: Visits, max_bytes: int, upload_id: str | None
) -> Response:
    """Take an upload in, under a name of our own."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        return PlainTextResponse("expected a Content-Length", status_code=411)
    if int(length) > max_bytes + REQUEST_BYTES:
        return PlainTextResponse(too_large(max_bytes), status_code=413)
    folder = await run_in_threadpool(visits.new_folder)
    parser = GradioMultiPartParser(
        request.headers,
        request.stream(),
        max_files=1,
        max_fields=1,
        upload_dir=folder,
        max_file_size=max_bytes,
        upload_id=upload_id,
        upload_progress=file_upload_statuses if upload_id else None,
    )
    if upload_id:
        file_upload_statuses.track(upload_id)
    try:
        form = await parser.parse()
        (file,) = form.getlist("files")
        file.file.close()
        path = folder / f"song{known_extension(file.filename or '')}"
        pathlib.Path(file.file.name).rename(path)
        visits.offer(folder, file.filename or "song")
    except BaseException as error:  # also where the connection breaks
        shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, (MultiPartException, KeyError, ValueError)):
            raise
        return PlainTextResponse("expected one file at a time", status_code=400)
    return fastapi.responses.JSONResponse([str(path)])


def too_large(max_bytes: int) -> str:
    """Why a file is refused."""
    return (
        f"expected a file of at most {max_bytes / 1e6:.0f} MB; whoever started this "
        "page can raise that with --max_megabytes"
    )


class Guard:
    """Lets in who may ask, around the whole application; an ASGI application.

    Args:
        hosts: names under which the page may be asked for; others are those of pages
            elsewhere that were given our address. Defaults to any.
        password: what a browser must give, under any user name. Defaults to none.
    """

    def __init__(self, hosts: Sequence[str] = (), password: str = ""):
        self.app: Any = None
        self._hosts, self._password = tuple(hosts), password

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope["path"], dict(scope["headers"]))
        if refusal is not None:
            await refusal(scope, receive, send)
            return

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        await self.app(scope, receive, send_guarded)

    def _refusal(self, path: str, headers: dict[bytes, bytes]) -> Response | None:
        host = headers.get(b"host", b"").decode("latin-1").rpartition(":")[0] or (
            headers.get(b"host", b"").decode("latin-1")
        )
        if self._hosts and host.lower().strip("[]") not in self._hosts:
            return PlainTextResponse("unknown host", status_code=400)
        if self._password and not self._is_given(headers.get(b"authorization", b"")):
            return PlainTextResponse(
                "This page wants its password, under any user name.",
                status_code=401,
                headers={
                    "WWW-Authenticate": 'Basic realm="sswavenet", charset="UTF-8"'
                },
            )
        if path.startswith(API) and not USED.fullmatch(path[len(API) :]):
            return PlainTextResponse("not found", status_code=404)
        return None

    def _is_given(self, authorization: bytes) -> bool:
        """Whether a browser gave the password."""
        kind, _, given = authorization.partition(b" ")
        try:
            words = base64.b64decode(given, validate=True) if kind == b"Basic" else b""
        except ValueError:
            words = b""
        return hmac.compare_digest(
            words.partition(b":")[2], self._password.encode("utf-8")
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
