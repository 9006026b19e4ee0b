"""Where what is slow to make is kept for the next run, in folders of the user alone."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib

import util
from util import UserError


def cache_folder() -> pathlib.Path:
    """Where what is slow to make is kept for the next run; made where it can be.

    Raises UserError where the user has no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = pathlib.Path(base).expanduser() / "sswavenet"
    except (RuntimeError, KeyError):  # the latter before Python 3.10
        raise UserError(
            f"cannot find the home folder for the cache {base}: set HOME, or "
            "XDG_CACHE_HOME to a folder"
        ) from None
    with contextlib.suppress(OSError):
        util.make_folder(folder, mode=0o700)
    return folder


def code_folder(*names: str) -> pathlib.Path:
    """Make a folder in the cache for compiled code, which is loaded and run.

    Raises OSError where it cannot be made, or somebody else can put code into it, and
    UserError where the user has no home folder.
    """
    folder = cache_folder()
    for name in ("", *names):
        folder /= name
        util.make_folder(folder, mode=0o700)
        state = folder.stat()
        owner = state.st_uid if hasattr(os, "geteuid") else None
        if owner is not None and (owner != os.geteuid() or state.st_mode & 0o022):
            raise PermissionError(
                errno.EPERM,
                "expected a folder that belongs to this user and that only this user "
                "can write into; remove it, or set XDG_CACHE_HOME to another place",
                str(folder),
            )
    return folder
