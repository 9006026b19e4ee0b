"""The command that starts the page.

Nothing heavy is imported before the arguments have been read.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import pathlib
import socket
import tempfile
import threading
from collections.abc import Sequence
from typing import Callable

from sswavenet.console import run, streams
from sswavenet.console.parser import Parser
from util import UserError

logger = logging.getLogger(__name__)

DESCRIPTION = "A page in the browser: drop a song, listen to its stems, download them."


def build_parser() -> Parser:
    """The parser of the page's arguments."""
    parser = Parser(prog="sswavenet app", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; others than this machine's own let others in "
        "(default: 127.0.0.1)",
    )
    parser.add_argument(
        "--port",
        type=_whole(0, 65535),
        default=7860,
        help="port to listen on, 0 for any that is free (default: 7860)",
    )
    parser.add_argument(
        "--password",
        default=os.environ.get("SSWAVENET_PASSWORD", ""),
        metavar="TEXT",
        help="what a browser must give, under any user name (default: what "
        "SSWAVENET_PASSWORD says in the environment, else none)",
    )
    parser.add_argument(
        "--session",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a trained session to offer first; may be given several times",
    )
    parser.add_argument(
        "--max_minutes",
        type=_whole(1, 600),
        default=20,
        metavar="N",
        help="how long a song may be (default: 20)",
    )
    parser.add_argument(
        "--max_megabytes",
        type=_whole(1, 100000),
        default=1000,
        metavar="N",
        help="how large a file may be (default: 1000)",
    )
    parser.add_argument(
        "--concurrency",
        type=_whole(1, 64),
        default=1,
        metavar="N",
        help="songs that are separated at a time; others wait (default: 1)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Start the page, and answer until a signal comes.

    Args:
        argv: arguments. Defaults to the process's.

    Returns:
        The exit status, as of `console.run`.
    """
    args = build_parser().parse_args(argv)
    return run.run(lambda: serve(args))


def serve(args: argparse.Namespace) -> int:
    """Serve the page.

    Raises:
        UserError: the address cannot be listened on, or a session not be used.
    """
    import uvicorn

    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(args.host, args.port))
        port = listener.getsockname()[1]
        folder = pathlib.Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="sswavenet-app-", ignore_cleanup_errors=True
                )
            )
        )
        # Read when Gradio is imported: it asks nobody for news, and keeps its own
        # files where they are removed.
        os.environ.update(
            GRADIO_ANALYTICS_ENABLED="False",
            GRADIO_TEMP_DIR=str(folder / "uploads"),
            HF_HUB_OFFLINE="1",
        )
        from sswavenet.app import server
        from sswavenet.app.page import Page
        from sswavenet.app.sessions import Sessions
        from sswavenet.app.visits import Visits

        sessions = Sessions(args.session)
        visits = stack.enter_context(Visits(folder))
        max_bytes = 1000000 * args.max_megabytes
        page = Page(
            visits,
            sessions,
            max_seconds=60 * args.max_minutes,
            max_bytes=max_bytes,
            concurrency=args.concurrency,
        )
        is_ours = server.is_loopback(args.host)
        application = server.build(
            page.blocks,
            visits,
            max_bytes=max_bytes,
            guard=server.Guard(
                ("localhost", "127.0.0.1", "::1", args.host) if is_ours else (),
                args.password,
            ),
        )
        if not is_ours:
            _warn(args)
        threading.Thread(target=sessions.warm_up, daemon=True).start()
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        host = f"[{args.host}]" if ":" in args.host else args.host
        streams.write(f"http://{host}:{port}\n")
        logger.info("Ctrl-C ends it")
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """A socket that browsers connect to."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        is_name = isinstance(error, socket.gaierror)
        reason = error.strerror if is_name else os.strerror(error.errno or 0)
        raise UserError(
            f"cannot listen on {host} port {port}: {reason}; --host and --port choose "
            "others"
        ) from None


def _warn(args: argparse.Namespace) -> None:
    """Say who can reach a page that is not on this machine's own address."""
    who = "whoever has the password and" if args.password else "everybody who"
    logger.warning(
        "%s reaches %s can bring songs here and use this machine's time%s; what "
        "goes there and back can be read on the way (no HTTPS)",
        who,
        args.host,
        "" if args.password else "; --password lets in only who knows it",
    )


def _whole(least: int, most: int) -> Callable[[str], int]:
    """A type of argument: a whole number in a range."""

    def read(text: str) -> int:
        value = int(text) if text.isascii() and text.isdecimal() else -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {least} to {most}, got {text!r}"
            )
        return value

    return read
