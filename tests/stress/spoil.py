"""Ways to spoil files: their bytes, the values of a config, the structure of HDF5."""

from __future__ import annotations

import contextlib
import pathlib

import h5py
import numpy as np

# What a config's values are replaced by.
VALUES = [
    None, True, False, -1, 0, 1, 2, 0.5, 1e-320, 1e308, float("nan"), float("inf"),
    2**31, 2**63, 10**12, 10**400, -(10**400), "", " ", "x", "\0", "\ud800", "\udc80",
    "../" * 50, "x" * 5000, "1", [], [[]], [1] * 70, [3, "a"], {}, {"a": {"b": {}}},
    10**6, 10**7, 999, 64,
]  # fmt: skip
INTEGERS = [
    0,
    1,
    2,
    3,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0xFFFE,
    2**31,
    2**31 - 1,
]
INTEGERS += [2**32 - 1, 2**32 - 2, 44100, 8000, 24, 32, 64]


def spoil_bytes(data: bytes, rng: np.random.Generator, head: int) -> bytes:
    """Change, cut, drop, repeat or insert bytes, mostly among the first `head`."""
    spoiled = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        if not spoiled:
            break
        end = min(head, len(spoiled)) if rng.random() < 0.8 else len(spoiled)
        place, way = int(rng.integers(end)), int(rng.integers(7))
        if way == 0:
            spoiled[place] ^= 1 << int(rng.integers(8))
        elif way == 1:
            spoiled[place] = int(rng.integers(256))
        elif way in (2, 3):
            size = int(rng.choice([1, 2, 4, 8]))
            number = int(rng.choice(INTEGERS)) % 2 ** (8 * size)
            spoiled[place : place + size] = number.to_bytes(size, "little")
        elif way == 4:
            del spoiled[place : place + int(rng.integers(1, 20))]
        elif way == 5:
            spoiled[place:place] = rng.bytes(int(rng.integers(1, 20)))
        else:
            del spoiled[int(rng.integers(len(spoiled))) :]
    return bytes(spoiled)


def spoil_document(document: dict, rng: np.random.Generator) -> dict:
    """Replace, remove, rename, add or copy values anywhere in a config."""
    for _ in range(int(rng.integers(1, 4))):
        place = document
        while place:
            name = list(place)[int(rng.integers(len(place)))]
            if not isinstance(place[name], dict) or not place[name]:
                break
            if rng.random() < 0.1:
                break
            place = place[name]
        if not place:
            break
        way = int(rng.integers(6))
        value = VALUES[int(rng.integers(len(VALUES)))]
        if way < 3:
            place[name] = value
        elif way == 3:
            place[name + "s"] = place.pop(name)
        elif way == 4:
            place[str(value)] = value
        else:
            place.pop(name)
    return document


def odd_array(rng: np.random.Generator) -> object:
    """A value for an attribute or a dataset that none of the right ones has."""
    shape = [(), (1,), (0,), (3,), (1, 4, 9), (3, 1, 4), (2, 2, 2, 2)]
    size = shape[int(rng.integers(len(shape)))]
    ways = [
        lambda: np.full(size, 1e300),
        lambda: np.full(size, np.nan, "float16"),
        lambda: np.ones(size, "float128"),
        lambda: np.ones(size, "int64"),
        lambda: np.ones(size, "complex64"),
        lambda: np.zeros(size, [("a", "f4"), ("b", "i2")]),
        lambda: np.full(size, b"\xff\x00x"),
        lambda: "text \udc80" if rng.random() < 0.2 else "text",
        lambda: h5py.Empty("f4"),
        lambda: np.ones(size, bool),
        lambda: -1,
        lambda: 2**63,
        lambda: "[" * 2000,
        lambda: b"theano",
        lambda: np.array([b"theano", b"jax"]),
        lambda: int(rng.integers(10)),
    ]
    return ways[int(rng.integers(len(ways)))]()


def spoil_hdf5(path: pathlib.Path, rng: np.random.Generator) -> None:
    """Change the structure of a valid file: its objects, links and attributes."""
    with h5py.File(path, "r+") as file:
        for _ in range(int(rng.integers(1, 4))):
            names: list = []
            file.visit(names.append)
            if not names:
                return
            name = names[int(rng.integers(len(names)))]
            if rng.random() < 0.3:  # near the top, where few of them are
                parts = name.split("/")
                name = "/".join(parts[: int(rng.integers(1, 1 + len(parts)))])
            place = file[name]
            way = int(rng.integers(10))
            other = names[int(rng.integers(len(names)))]
            with contextlib.suppress(Exception):  # what HDF5 itself does not allow
                if way == 0:
                    del file[name]
                elif way == 1:
                    del file[name]
                    file[name] = odd_array(rng)
                elif way == 2:
                    attributes = [*place.attrs, "backend", "epoch", "sums", "step"]
                    chosen = attributes[int(rng.integers(len(attributes)))]
                    place.attrs[chosen] = odd_array(rng)
                elif way == 3:
                    file.move(name, f"{name}{rng.integers(10)}")
                elif way == 4:
                    file[f"{name}/x"] = file[other]
                elif way == 5:
                    links = (
                        h5py.SoftLink(f"/{other}"),
                        h5py.SoftLink("/nowhere"),
                        h5py.ExternalLink("other.hdf5", "/"),
                    )
                    del file[name]
                    file[name] = links[int(rng.integers(len(links)))]
                elif way == 6:
                    old = file[name][()] if isinstance(place, h5py.Dataset) else 1.0
                    del file[name]
                    file.create_dataset(
                        name, data=old, chunks=True, compression="gzip", shuffle=True
                    )
                elif way == 7:
                    shape = place.shape
                    del file[name]
                    external = [("raw", 0, h5py.h5f.UNLIMITED)]
                    file.create_dataset(name, shape, "f4", external=external)
                elif way == 8:
                    file[f"{name}/{'y/' * int(rng.integers(1, 40))}z"] = 1.0
                else:
                    file[name].attrs.clear()
