"""Files that are spoiled, dangerous, cut or no HDF5 at all."""

import re
import zlib

import h5py
import numpy as np
import pytest

from sswavenet.checkpoints.__main__ import describe
from tests.checkpoints.conftest import read
from util import UserError


def _replace(file, name, array):
    del file[name]
    file[name] = array


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda g: _replace(g, "conv1d_2/conv1d_2/kernel", np.zeros((1, 8, 15))),
            r"conv1d_2 with a kernel of shape \(1, 8, 14\).*got shape \(1, 8, 15\)",
        ),
        (
            lambda g: _replace(
                g, "conv1d_2/conv1d_2/kernel", np.full((1, 8, 14), np.nan)
            ),
            "conv1d_2/kernel: expected finite numbers",
        ),
        (
            lambda g: _replace(
                g, "conv1d_2/conv1d_2/kernel", np.zeros((1, 8, 14), "int32")
            ),
            "floating-point numbers inside the file, got int32",
        ),
        (lambda g: g.__delitem__("conv1d_5"), "expected 13 layers conv1d_.*got 12"),
        (
            lambda g: g.__delitem__("res_4_dilated_conv_d8_s0"),
            "expected layer res_4_dilated_conv_d8_s0",
        ),
        (
            lambda g: g.create_dataset("dense_1/dense_1/kernel", data=np.zeros(3)),
            "got more: dense_1",
        ),
        (
            lambda g: g.__setitem__(
                "conv1d_99", h5py.ExternalLink("other.hdf5", "/model_weights/conv1d_1")
            ),
            "links are not followed",
        ),
        (
            lambda g: g.__setitem__("conv1d_99", h5py.SoftLink("/model_weights")),
            "links are not followed",
        ),
    ],
)
def test_spoiled_files_are_refused(copied, spoil, message):
    with h5py.File(copied, "r+") as file:
        spoil(file["model_weights"])
    with pytest.raises(UserError, match=message) as error:
        read(copied)
    assert str(copied) in str(error.value)
    assert "\n" not in str(error.value)


KERNEL = "conv1d_2/conv1d_2/kernel"  # of the golden network: (1, 8, 14)


def _store(group, values=None, **options):
    """Put a kernel into the file again, stored as h5py's options say."""
    array = group[KERNEL][()]
    del group[KERNEL]
    dataset = group.create_dataset(KERNEL, array.shape, "float32", **options)
    if values is None:
        dataset[...] = array
    return dataset


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"shuffle": True, "chunks": (1, 3, 5)},
        {"fletcher32": True, "chunks": (1, 8, 1)},
        {"chunks": (1, 100, 100), "maxshape": (None, None, None)},
    ],
)
def test_what_hdf5_packs_itself_is_read(copied, options):
    expected = read(copied).weights
    with h5py.File(copied, "r+") as file:
        _store(file["model_weights"], **options)
    for name, array in read(copied).weights.items():
        np.testing.assert_array_equal(array, expected[name])


def test_a_chunk_that_gzip_was_left_out_of_is_read(copied, rng):
    array = rng.standard_normal((1, 8, 14)).astype("float32")
    with h5py.File(copied, "r+") as file:
        dataset = _store(file["model_weights"], (), compression="gzip")
        dataset.id.write_direct_chunk((0, 0, 0), array.tobytes(), filter_mask=1)
    stored = read(copied).weights["conv1d_2/kernel"]
    np.testing.assert_array_equal(stored[0, ::-1], array[0, ::-1])


def _with_a_foreign_filter(group):
    """As written by whoever has the library: HDF5 would look for it, and run it."""
    array = group[KERNEL][()]
    del group[KERNEL]
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(array.shape)
    properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    place = group[KERNEL.rpartition("/")[0]].id
    space = h5py.h5s.create_simple(array.shape)
    dataset = h5py.h5d.create(
        place, b"kernel", h5py.h5t.NATIVE_FLOAT, space, properties
    )
    h5py.Dataset(dataset)[...] = array


def _packed(num_bytes):
    """Spoil a chunk: once unpacked it has more bytes than it says."""

    def spoil(group):
        dataset = _store(group, (), compression="gzip", chunks=(1, 8, 14))
        dataset.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(num_bytes)))

    return spoil


def _written_in_part(group):
    _store(group, (), chunks=(1, 8, 7))[:, :, 3] = 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_with_a_foreign_filter, r"got the filters \[32015\]; h5repack -f NONE"),
        (lambda g: _store(g, compression="lzf"), "h5repack -f NONE"),
        (lambda g: _store(g, scaleoffset=3), "h5repack -f NONE"),
        (
            lambda g: _store(
                g, (), chunks=(1, 30000, 30000), maxshape=(None, None, None)
            ),
            "chunks no larger than the array",
        ),
        (_packed(10**8), "chunks of 448 bytes, got a larger one"),
        (_packed(10**6), "chunks of 448 bytes, got a larger one"),
        (lambda g: _store(g, ()), "an array, got one never written"),
        (lambda g: _store(g, (), chunks=(1, 8, 14)), "got one never written"),
        (_written_in_part, "got one never written in part"),
        (
            lambda g: g.create_dataset("conv1d_2/zz/kernel", data=np.ones((1, 8, 14))),
            "expected one kernel in the layer conv1d_2, got .*/kernel and .*/kernel",
        ),
        (
            lambda g: g.move("conv1d_3", "conv1d_02"),  # which of the two is second?
            "expected 13 layers conv1d_.*got 12",
        ),
    ],
)
def test_storage_that_is_dangerous_empty_or_ambiguous_is_refused(
    copied, spoil, message
):
    with h5py.File(copied, "r+") as file:
        spoil(file["model_weights"])
    with pytest.raises(UserError, match=message) as error:
        read(copied)
    assert str(copied) in str(error.value)


def test_data_outside_the_file_is_not_read(copied, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(1 * 8 * 14 * 4))
    with h5py.File(copied, "r+") as file:
        group = file["model_weights/conv1d_2/conv1d_2"]
        del group["kernel"]
        group.create_dataset(
            "kernel",
            (1, 8, 14),
            "float32",
            external=[(str(tmp_path / "secret"), 0, 448)],
        )
    with pytest.raises(UserError, match="data outside it"):
        read(copied)


def test_code_in_a_file_is_never_run(copied, tmp_path):
    """`model_config` with a pickle that would create a file when loaded."""
    import pickle

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "boom"), "w"))

    with h5py.File(copied, "r+") as file:
        file.attrs["model_config"] = np.void(pickle.dumps(Bomb()))
    read(copied)
    describe(copied)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", None])
def test_what_is_no_hdf5_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.00001-0.1.hdf5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        read(path)
    with pytest.raises(UserError, match=re.escape(str(path))):
        describe(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_cut_file_is_refused(copied, share):
    content = copied.read_bytes()
    copied.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="HDF5"):
        read(copied)
