"""HDF5 files read with caution: whatever a file holds, only its own arrays come out.

A file may come from anywhere. Links and storage that lead out of it are refused, so
are groups without end, and filters for which HDF5 would look for a library to run;
sizes are checked before anything is read, and nothing in a file is ever run or
unpickled. Whatever HDF5 makes of a spoiled file becomes a `UserError` of one line.
"""

from __future__ import annotations

import contextlib
import io
import math
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from util import UserError

# Groups and arrays looked at in a file: hard links can lead round in circles. Each that
# is no link to another takes at least some bytes, which allows for more in large files.
MAX_MEMBERS = 10000
BYTES_OF_A_MEMBER = 256
MAX_DEPTH = 4  # levels of groups that are looked into
SHUFFLE, GZIP, FLETCHER32 = 2, 1, 3  # HDF5's numbers of its own filters
MIN_CHUNK_BYTES = 2**20  # a chunk of this size is never too large for its array
MAX_OVERHEAD_BYTES = 4096  # of a chunk that gzip cannot make smaller
KERAS_WEIGHTS = "model.weights.h5"  # in the ZIP file of a Keras 3 model
MAX_EXPANSION, MIN_UNZIPPED_BYTES = 4, 2**24  # weights hardly shrink, their index does


class Source:
    """An open file whose groups and arrays are counted as they are looked at."""

    def __init__(self, path: pathlib.Path, file: Any, max_members: int):
        self.path = path
        self.file = file
        self._max_members = self._left = max_members

    def members(self, group: Any) -> Iterator[tuple]:
        """(name, object) of a group; a UserError for any link, and for too many."""
        for name in group:
            self._left -= 1
            if self._left < 0:
                raise UserError(
                    f"{self.path}: expected at most {self._max_members} groups and "
                    "arrays, got more"
                )
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UserError(
                    f"{self.path}: expected only groups and arrays, got a link at "
                    f"{group.name}/{name}; links are not followed"
                )
            yield name, group[name]

    def datasets(self, group: Any, depth: int = 0) -> Iterator[tuple]:
        """(name within `group`, dataset) at most `MAX_DEPTH` levels down."""
        for name, item in self.members(group):
            if isinstance(item, h5py.Dataset):
                yield name, item
            elif depth < MAX_DEPTH:
                for inner, dataset in self.datasets(item, depth + 1):
                    yield f"{name}/{inner}", dataset


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Source]:
    """The open file; errors within the context become `UserError`s that name it."""
    try:
        if not path.is_file():
            raise UserError(f"{path}: expected a checkpoint file (HDF5), found none")
        size = path.stat().st_size
        place = _unzipped(path, size) if _is_zip(path) else path
        with h5py.File(place, "r") as file:
            yield Source(path, file, MAX_MEMBERS + size // BYTES_OF_A_MEMBER)
    except UserError:
        raise
    # Whatever h5py makes of a spoiled file; a name that is no text is a ValueError.
    except (
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
        MemoryError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = getattr(error, "strerror", None) or str(error)
        reason = " ".join(reason.split()) or type(error).__name__
        raise UserError(f"{path}: expected an HDF5 checkpoint, got {reason}") from None


def _is_zip(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _unzipped(path: pathlib.Path, size: int) -> io.BytesIO:
    """The file of weights in a Keras 3 model; nothing else in there is looked at."""
    most = max(MAX_EXPANSION * size, MIN_UNZIPPED_BYTES)
    with zipfile.ZipFile(path) as archive, archive.open(KERAS_WEIGHTS) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UserError(
            f"{path}: expected {KERAS_WEIGHTS} of at most {most} bytes, got more"
        )
    return io.BytesIO(content)


def read_floats(dataset: Any, shape: tuple, what: str) -> np.ndarray:
    """A float32 array of a shape from a dataset whose bytes lie in the file itself.

    Raises UserError, with its name `what`, where it has another shape or type, lies
    elsewhere, was never written or is not finite, or to read it would take more memory
    than it needs, or foreign code.
    """
    if dataset.dtype.kind != "f" or dataset.external or dataset.is_virtual:
        raise UserError(
            f"{what}: expected floating-point numbers inside the file, got "
            f"{'data outside it' if dataset.dtype.kind == 'f' else dataset.dtype}"
        )
    if dataset.shape != shape:
        raise UserError(f"{what}: expected shape {shape}, got {dataset.shape}")
    _check_storage(dataset, what)
    with np.errstate(over="ignore"):  # becomes infinity, which is refused
        array = np.asarray(dataset[()], "float32")
    if not np.isfinite(array).all():
        raise UserError(f"{what}: expected finite numbers, got NaN or Inf")
    return array


def _check_storage(dataset: Any, what: str) -> None:
    """See that an array is there and that reading it runs and fills nothing else."""
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(k)[0] for k in range(properties.get_nfilters())]
    # In the order in which h5py applies them. Any other, HDF5 takes from a library.
    if filters != [f for f in (SHUFFLE, GZIP, FLETCHER32) if f in filters]:
        raise UserError(
            f"{what}: expected plain storage, gzip, shuffle or fletcher32, got the "
            f"filters {filters}; h5repack -f NONE rewrites a file without them"
        )
    if dataset.chunks is None:
        if dataset.id.get_storage_size() < dataset.nbytes:
            raise UserError(f"{what}: expected an array, got one never written")
        return
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if size > max(dataset.nbytes, MIN_CHUNK_BYTES):
        raise UserError(
            f"{what}: expected chunks no larger than the array, got {dataset.chunks}"
        )
    for place in dataset.iter_chunks():
        _check_chunk(dataset, tuple(part.start for part in place), size, filters, what)


def _check_chunk(
    dataset: Any, start: tuple, size: int, filters: list[int], what: str
) -> None:
    """See that a chunk is there, and no larger once it is read than `size` bytes."""
    info = dataset.id.get_chunk_info_by_coord(start)
    if info.byte_offset is None:
        raise UserError(f"{what}: expected an array, got one never written in part")
    is_too_large = info.size > size + size // 16 + MAX_OVERHEAD_BYTES
    if not is_too_large and GZIP in filters:
        left_out, packed = dataset.id.read_direct_chunk(start)
        if not left_out >> filters.index(GZIP) & 1:
            # HDF5 would unpack to whatever there is.
            unpacked = zlib.decompressobj().decompress(packed, size + 1)
            is_too_large = len(unpacked) > size
    if is_too_large:
        raise UserError(f"{what}: expected chunks of {size} bytes, got a larger one")


def attribute(group: Any, name: str, default: Any = None) -> Any:
    """A scalar attribute as a Python value; the default where it is no scalar."""
    # Counted before it is read: many texts may all be the same large one in the file.
    if name not in group.attrs or group.attrs.get_id(name).shape not in ((), (1,)):
        return default
    value = group.attrs[name]
    if isinstance(value, h5py.Empty):
        return default
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
