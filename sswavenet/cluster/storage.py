"""Places in stores by URL, through fsspec: names as they come, whole objects only.

Where putting an object is atomic, it is put under its own name; elsewhere it is put
beside it and moved there, so that nobody sees a part of it.
"""

from __future__ import annotations

import contextlib
import pathlib
import posixpath
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec
from fsspec.asyn import sync

import util
from sswavenet.console import packages
from util import UserError

# Stores that show an object only once all of it has come (a multipart upload included).
ATOMIC = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss"}

BUSY = {429, 500, 502, 503, 504}  # answers of a store that can be asked again


@contextlib.contextmanager
def _named(url: str, action: str) -> Iterator[None]:
    """Tell what went wrong with a URL in one line, whatever its library says."""
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        module = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}.get(url.split(":")[0])
        hint = packages.how_to_install(module) if module else str(error)
        raise UserError(f"{url}: its store needs another package: {hint}") from error
    except FileNotFoundError as error:
        reason = "there is nothing of that name"
        raise UserError(f"cannot {action} {url}: {reason}") from error
    # Each store has errors of its own, of no common kind.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot {action} {url}: {reason}") from error


def _is_busy(error: Exception) -> bool:
    """Whether S3 gave this error for want of time, by the number of its answer.

    What is asked for names alone has an answer without text, where s3fs looks for it.
    """
    answer = getattr(error, "response", None) or {}
    return answer.get("ResponseMetadata", {}).get("HTTPStatusCode") in BUSY


class Store:
    """What lies at a URL and below it.

    Raises UserError where the store cannot be used, as all of its methods do. Stores
    can be sent to other processes.
    """

    def __init__(self, url: str):
        self.url = url if url.endswith("://") else url.rstrip("/")
        with _named(url, "use"):
            # What a listing keeps in memory would grow with the store.
            self._fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self._root = root.rstrip("/")
        protocol = self._fs.protocol
        self._names = {protocol} if isinstance(protocol, str) else set(protocol)
        if "s3" in self._names:
            from s3fs.core import set_custom_error_handler

            set_custom_error_handler(_is_busy)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def url_of(self, name: str) -> str:
        """The URL of a name below this place."""
        between = "" if self.url.endswith("/") else "/"
        return f"{self.url}{between}{name}" if name else self.url

    def files(self, *, recursive: bool) -> Iterator[tuple[str, int]]:
        """Names below this place and their sizes in bytes, listed while they are taken.

        The name of what lies at the URL itself is empty. Hidden names are left out, and
        without `recursive` those in folders. Of one folder names come in order.
        """
        with _named(self.url, "list"):
            for path, size in self._listed(recursive):
                name = path[len(self._root) :].lstrip("/")
                if not any(map(util.is_foreign, name.split("/"))):
                    yield name, size

    def _listed(self, recursive: bool) -> Iterator[tuple[str, int]]:
        try:
            found = self._fs.info(self._root)
        # There may be names below that may be read, though not at the place itself.
        except (FileNotFoundError, PermissionError):
            found = {"type": "directory"}
        if found["type"] == "file":
            yield self._root, found["size"] or 0
        elif hasattr(self._fs, "_iterdir"):  # of s3fs: a thousand names at a time
            bucket, key, _ = self._fs.split_path(self._root)
            entries = self._fs._iterdir(
                bucket,
                delimiter="" if recursive else "/",
                prefix=f"{key}/" if key else "",
            )
            with contextlib.suppress(StopAsyncIteration):
                while True:
                    entry = sync(self._fs.loop, entries.__anext__)
                    if entry["type"] == "file" and not entry["name"].endswith("/"):
                        yield entry["name"], entry["size"]
        else:
            depth = None if recursive else 1
            for folder, folders, files in self._fs.walk(
                self._root, maxdepth=depth, detail=True, on_error="raise"
            ):
                for name in [name for name in folders if util.is_foreign(name)]:
                    del folders[name]  # walk goes into what stays
                for name, entry in sorted(files.items()):
                    yield f"{folder}/{name}", entry["size"] or 0

    def fetch(self, name: str, file: pathlib.Path) -> None:
        """Copy an object to a file."""
        with _named(self.url_of(name), "read"):
            self._fs.get_file(self._path(name), str(file))

    def exists(self, name: str) -> bool:
        """Whether there is an object of that name."""
        with _named(self.url_of(name), "read"):
            return self._fs.exists(self._path(name))

    def put_all(self, files: Mapping[str, pathlib.Path]) -> None:
        """Put files under their names, all of them or none.

        What one of them replaced comes back where another one fails.
        """
        old: dict[str, str] = {}
        begun: list[str] = []
        try:
            for name, file in files.items():
                if self.exists(name):
                    old[name] = self._beside(name)
                    with _named(self.url_of(name), "copy"):
                        self._fs.cp_file(self._path(name), old[name])
                begun.append(name)
                self._put(file, name)
        except BaseException:
            for name in begun:
                with contextlib.suppress(Exception):  # the first error is told
                    if name in old:
                        self._fs.cp_file(old[name], self._path(name))
                    else:
                        self._fs.rm_file(self._path(name))
            raise
        finally:
            for path in old.values():
                with contextlib.suppress(Exception):  # it is hidden
                    self._fs.rm_file(path)

    def _put(self, file: pathlib.Path, name: str) -> None:
        path = self._path(name)
        with _named(self.url_of(name), "write"):
            if not ATOMIC.isdisjoint(self._names):
                self._fs.put_file(str(file), path)
                return
            self._fs.makedirs(posixpath.dirname(path), exist_ok=True)
            temporary = self._beside(name)
            try:
                self._fs.put_file(str(file), temporary)
                self._fs.mv(temporary, path)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._fs.rm_file(temporary)
                raise

    def _beside(self, name: str) -> str:
        folder, base = posixpath.split(self._path(name))
        return f"{folder}/.{base}.{uuid.uuid4().hex}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the URL; the connection is made anew."""
        return Store, (self.url,)
