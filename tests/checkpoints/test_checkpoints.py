"""Checkpoints: the files of 2018 and ours, conventions, mapping, refusals."""

import errno
import os
import pathlib
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
import zlib

import h5py
import numpy as np
import pytest

from sswavenet import checkpoints
from sswavenet.checkpoints.__main__ import describe, main
from tests.support import (
    TASK_NAMES,
    golden_checkpoint,
    golden_config,
    random_weights,
    tiny_config,
)
from util import UserError


@pytest.fixture
def copied(tmp_path):
    """A copy of the golden multi-instrument checkpoint to spoil."""
    path = tmp_path / "checkpoint.00002-0.169.hdf5"
    shutil.copy(golden_checkpoint("multi-instrument"), path)
    return path


def read(path, convention=None):
    return checkpoints.read_checkpoint(
        path, golden_config("multi-instrument"), convention
    )


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_theano_kernels_are_flipped(task_name):
    config, path = golden_config(task_name), golden_checkpoint(task_name)
    checkpoint = checkpoints.read_checkpoint(path, config)
    assert (checkpoint.backend, checkpoint.keras_version) == ("theano", "2.1.5")
    assert (checkpoint.convention, checkpoint.epoch) == ("theano", 2)
    with h5py.File(path, "r") as file:
        for name, array in checkpoint.weights.items():
            layer = name.split("/")[0]
            stored = file[f"model_weights/{layer}/{name}"][()]
            expected = stored if name.endswith("bias") else stored[::-1]
            np.testing.assert_array_equal(array, expected)


def test_a_correlation_file_gives_the_same_weights(tmp_path):
    theano = read(golden_checkpoint("multi-instrument"))
    path = tmp_path / "checkpoint.00003-0.1.hdf5"
    checkpoints.write_checkpoint(path, theano.weights)
    ours = read(path)
    assert ours.convention == "tensorflow"
    for name, array in theano.weights.items():
        np.testing.assert_array_equal(ours.weights[name], array)


def test_written_files_have_the_layout_of_2018(tmp_path):
    config = golden_config("multi-instrument")
    weights = read(golden_checkpoint("multi-instrument")).weights
    path = tmp_path / "ours.hdf5"
    checkpoints.write_checkpoint(path, weights)
    with h5py.File(golden_checkpoint("multi-instrument"), "r") as file:
        group = file["model_weights"]
        named = [name.decode() for name in group.attrs["layer_names"]]
        expected = [n for n in named if len(group[n].attrs["weight_names"])]
        arrays = [group[n].attrs["weight_names"].tolist() for n in expected]
    with h5py.File(path, "r") as file:
        group = file["model_weights"]
        layers = [name.decode() for name in group.attrs["layer_names"]]
        assert layers == expected
        assert [group[n].attrs["weight_names"].tolist() for n in layers] == arrays
        assert file.attrs["backend"] == b"tensorflow"
        assert group.attrs["backend"] == b"tensorflow"
        assert isinstance(file.attrs["keras_version"], bytes)
        for name, shape in config.weight_shapes.items():
            assert group[name.split("/")[0]][name].shape == shape


def test_a_thousand_blocks_are_written_and_read(tmp_path, rng):
    config = tiny_config(model={"num_stacks": 600})
    weights = random_weights(config, rng)
    path = tmp_path / "checkpoint.00001-0.1.hdf5"
    checkpoints.write_checkpoint(path, weights)
    for name, array in checkpoints.read_checkpoint(path, config).weights.items():
        np.testing.assert_array_equal(array, weights[name])
    with h5py.File(path, "r") as file:
        group = file["model_weights"]
        # As Keras numbers the parts of a list that HDF5 cannot hold in one attribute.
        parts = sorted(set(group.attrs) - {"backend", "keras_version"})
        assert parts == [f"layer_names{k}" for k in range(len(parts))]
        named = np.concatenate([group.attrs[part] for part in parts])
        assert [name.decode() for name in named] == list(
            dict.fromkeys(name.split("/")[0] for name in weights)
        )


def test_weights_only_files_are_read(tmp_path, copied):
    path = tmp_path / "weights.hdf5"
    with h5py.File(copied, "r") as full, h5py.File(path, "w") as file:
        for layer in full["model_weights"]:
            full.copy(f"model_weights/{layer}", file)
        file.attrs["backend"] = b"theano"
        file.attrs["keras_version"] = b"2.1.5"
    expected = read(copied).weights
    for name, array in read(path).weights.items():
        np.testing.assert_array_equal(array, expected[name])


def test_conv1d_numbers_may_start_anywhere(copied):
    expected = read(copied).weights
    with h5py.File(copied, "r+") as file:
        group = file["model_weights"]
        for k in range(13, 0, -1):  # 1..13 -> 96..108: text order is not number order
            group.move(f"conv1d_{k}", f"conv1d_{k + 95}")
            inner = group[f"conv1d_{k + 95}"]
            inner.move(f"conv1d_{k}", f"conv1d_{k + 95}")
    for name, array in read(copied).weights.items():
        np.testing.assert_array_equal(array, expected[name])


def test_no_backend_is_refused_unless_told(copied):
    expected = read(copied).weights
    with h5py.File(copied, "r+") as file:
        del file.attrs["backend"]
        del file["model_weights"].attrs["backend"]
    with pytest.raises(UserError, match="--kernel_convention"):
        read(copied)
    name = "res_1_dilated_conv_d1_s0/kernel"
    np.testing.assert_array_equal(read(copied, "theano").weights[name], expected[name])
    np.testing.assert_array_equal(
        read(copied, "tensorflow").weights[name], expected[name][::-1]
    )


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


# Keras 3's own files.


@pytest.fixture(scope="module")
def keras3_files(tmp_path_factory):
    """Weights and model of a tiny network as Keras 3 saves them, and the weights."""
    import models

    folder, config = tmp_path_factory.mktemp("keras3"), tiny_config()
    weights = random_weights(config, np.random.default_rng(3))
    for merged in (False, True):
        model = models.build_wavenet(config, merged_head=merged)
        models.load_weights(model, config, weights)
        name = "merged" if merged else "apart"
        model.compile(optimizer="adam", loss="mae")
        with warnings.catch_warnings():  # between Keras and NumPy
            warnings.simplefilter("ignore", DeprecationWarning)
            model.save_weights(folder / f"{name}.weights.h5")
            model.save(folder / f"{name}.keras")
    return folder, weights


@pytest.mark.slow
@pytest.mark.keras3
@pytest.mark.parametrize("head", ["apart", "merged"])
@pytest.mark.parametrize("kind", ["weights.h5", "keras"])
def test_what_keras3_saves_is_read(head, kind, keras3_files):
    folder, weights = keras3_files
    path, config = folder / f"{head}.{kind}", tiny_config()
    checkpoint = checkpoints.read_checkpoint(path, config)
    assert checkpoint.convention == "tensorflow"
    assert set(checkpoint.weights) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(checkpoint.weights[name], array)
    said = describe(path)
    assert "kind           Keras 3" in said
    assert f"parameters     {config.num_params:,}" in said
    assert "task           multi-instrument (3 outputs)" in said
    turned = checkpoints.read_checkpoint(path, config, "theano").weights
    name = "res_1_dilated_conv_d1_s0/kernel"
    np.testing.assert_array_equal(turned[name], weights[name][::-1])


def _keras3_layers(path):
    """Group of each layer, by the layer's name."""
    with h5py.File(path, "r") as file:
        places = file["layers"]
        return {places[place]["vars"].attrs["name"]: place for place in places}


@pytest.mark.keras3
def test_spoiled_files_of_keras3_are_refused(keras3_files, tmp_path):
    source, path = keras3_files[0] / "apart.weights.h5", tmp_path / "a.weights.h5"
    places = _keras3_layers(source)

    def refused(spoil):
        shutil.copy(source, path)
        with h5py.File(path, "r+") as file:
            spoil(file["layers"])
        with pytest.raises(UserError) as caught:
            checkpoints.read_checkpoint(path, tiny_config())
        return str(caught.value)

    second, third = (places[f"conv1d_{k}"] for k in (2, 3))
    said = refused(lambda g: g[f"{third}/vars"].attrs.modify("name", "conv1d_2"))
    assert "expected one kernel in the layer conv1d_2" in said
    said = refused(lambda g: g.__delitem__(second))
    assert "expected 9 layers conv1d_" in said
    said = refused(lambda g: g[f"{second}/vars"].create_dataset("1", data=np.ones(9)))
    assert "got more: a layer with more weights" in said
    link = h5py.ExternalLink("other.h5", "/")
    said = refused(lambda g: g.__setitem__("conv1d_99", link))
    assert "links are not followed" in said


@pytest.mark.keras3
def test_nothing_but_the_weights_of_a_keras3_model_is_looked_at(keras3_files, tmp_path):
    folder, weights = keras3_files
    path, config = tmp_path / "a.keras", tiny_config()
    with zipfile.ZipFile(folder / "apart.keras") as archive:
        content = archive.read("model.weights.h5")
    # As after a ZIP program has packed it anew, with files that would do harm.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", content)
        archive.writestr("config.json", '{"class_name": "Lambda"}')
        archive.writestr("../../escaped", "")
    before = sorted(tmp_path.rglob("*"))
    for name, array in checkpoints.read_checkpoint(path, config).weights.items():
        np.testing.assert_array_equal(array, weights[name])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.weights.h5", bytes(2**25), "got more"),  # 33 KB are in the file
        ("model.weights.h5", b"no HDF5", "expected an HDF5 checkpoint"),
        ("weights.npz", b"", "model.weights.h5"),
    ],
)
def test_a_zip_file_that_is_no_keras3_model_is_refused(
    name, content, message, tmp_path
):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    for look in (checkpoints.state_of, describe):
        with pytest.raises(UserError, match=message) as caught:
            look(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="expected an HDF5 checkpoint"):
        describe(path)


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


def test_the_wrong_task_is_refused():
    config = golden_config("singing-voice")
    path = golden_checkpoint("multi-instrument")
    with pytest.raises(UserError, match=r"conv1d_13 .*\(1, 12, 1\) .*\(1, 12, 3\)"):
        checkpoints.read_checkpoint(path, config)


def test_state_and_slots_survive(tmp_path, rng):
    config = tiny_config()
    weights, moments = random_weights(config, rng), random_weights(config, rng)
    path = tmp_path / "deep" / "checkpoint.00007-0.1.hdf5"
    checkpoints.write_checkpoint(
        path,
        weights,
        state={"epoch": 7, "step": 3, "sums": '{"loss": 1.5}'},
        slots={f"momentum/{name}": array for name, array in moments.items()},
    )
    checkpoint = checkpoints.read_checkpoint(path, config)
    assert checkpoint.epoch == 7
    assert checkpoint.state == {"epoch": 7, "step": 3, "sums": '{"loss": 1.5}'}
    assert len(checkpoint.slots) == len(moments)
    for name, array in moments.items():
        np.testing.assert_array_equal(checkpoint.slots[f"momentum/{name}"], array)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_latest_is_by_epoch_not_by_time(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("checkpoint.00010-0.2.hdf5", "checkpoint.00009-0.1.hdf5", "x.hdf5"):
        (folder / name).touch()
    assert checkpoints.find_latest(tmp_path).name == "checkpoint.00010-0.2.hdf5"


def test_no_checkpoint_is_an_error(tmp_path):
    with pytest.raises(UserError, match="found none"):
        checkpoints.find_latest(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="found none"):
        checkpoints.find_latest(tmp_path)
    (tmp_path / "checkpoints" / "a.hdf5").touch()
    assert checkpoints.find_latest(tmp_path).name == "a.hdf5"
    (tmp_path / "checkpoints" / "b.hdf5").touch()
    with pytest.raises(UserError, match="--load_checkpoint"):
        checkpoints.find_latest(tmp_path)


def write_session(session, rng, *names, **state):
    """A session with files of weights; those whose names have an epoch have a state."""
    weights = random_weights(tiny_config(), rng)
    for name in names:
        epoch = checkpoints.epoch_of(pathlib.Path(name))
        given = state if epoch is None else {"epoch": epoch}
        checkpoints.write_checkpoint(session / name, weights, state=given)


def names_of(*paths):
    return [path.name for path in paths]


def test_epochs_are_numbers_and_not_text(tmp_path, rng):
    names = ["checkpoint.9-a.hdf5", "checkpoint.10-b.hdf5", "checkpoint.00008-c.hdf5"]
    write_session(tmp_path / "checkpoints", rng, *names)
    found = checkpoints.find_latest(tmp_path), checkpoints.find_resumable(tmp_path)
    assert names_of(*found) == ["checkpoint.10-b.hdf5"] * 2


def test_what_is_no_file_is_no_checkpoint(tmp_path, rng):
    write_session(tmp_path / "checkpoints", rng, "checkpoint.00001-0.1.hdf5")
    (tmp_path / "checkpoints" / "checkpoint.00002-0.1.hdf5").mkdir()
    os.mkfifo(tmp_path / "checkpoints" / "checkpoint.00003-0.1.hdf5")
    os.mkfifo(tmp_path / "interrupted.hdf5")
    found = checkpoints.find_latest(tmp_path), checkpoints.find_resumable(tmp_path)
    assert names_of(*found) == ["checkpoint.00001-0.1.hdf5"] * 2


def test_training_goes_on_from_the_only_file_as_separation_uses_it(tmp_path, rng):
    assert checkpoints.find_resumable(tmp_path) is None
    write_session(tmp_path / "checkpoints", rng, "weights.hdf5")
    found = checkpoints.find_latest(tmp_path), checkpoints.find_resumable(tmp_path)
    assert names_of(*found) == ["weights.hdf5"] * 2
    write_session(tmp_path / "checkpoints", rng, "more.hdf5")
    for find in (checkpoints.find_latest, checkpoints.find_resumable):
        with pytest.raises(UserError, match="--load_checkpoint"):
            find(tmp_path)


def test_training_goes_on_from_a_stopped_epoch_and_separation_does_not(tmp_path, rng):
    write_session(tmp_path, rng, "interrupted.hdf5", epoch=0, step=3, newest=0)
    found = checkpoints.find_latest(tmp_path), checkpoints.find_resumable(tmp_path)
    assert names_of(*found) == ["interrupted.hdf5"] * 2  # there is nothing else
    # Below the state, since the training went back to an earlier epoch.
    write_session(tmp_path, rng, "interrupted.hdf5", epoch=1, step=3, newest=2)
    names = ["checkpoint.00001-a.hdf5", "checkpoint.00002-b.hdf5"]
    write_session(tmp_path / "checkpoints", rng, *names)
    assert checkpoints.find_latest(tmp_path).name == "checkpoint.00002-b.hdf5"
    assert checkpoints.find_resumable(tmp_path) == tmp_path / "interrupted.hdf5"
    # Another program has gone on since.
    write_session(tmp_path / "checkpoints", rng, "checkpoint.00003-c.hdf5")
    assert checkpoints.find_resumable(tmp_path).name == "checkpoint.00003-c.hdf5"


def test_a_stopped_epoch_of_an_earlier_version_is_found(tmp_path, rng):
    names = ["checkpoint.00002-b.hdf5", "interrupted.hdf5"]
    write_session(tmp_path / "checkpoints", rng, *names, epoch=1, step=3)
    assert checkpoints.find_latest(tmp_path).name == "checkpoint.00002-b.hdf5"
    assert checkpoints.find_resumable(tmp_path).name == "interrupted.hdf5"


def test_checkpoints_at_the_end_of_links_are_the_sessions_own(tmp_path, rng):
    write_session(tmp_path, rng, "elsewhere/a.hdf5", "disk/checkpoint.00001-b.hdf5")
    (tmp_path / "session").mkdir()
    (tmp_path / "session" / "checkpoints").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "checkpoint.00002-c.hdf5").symlink_to(
        tmp_path / "elsewhere" / "a.hdf5"
    )
    newest = checkpoints.find_resumable(tmp_path / "session")
    assert newest.name == "checkpoint.00002-c.hdf5"
    assert checkpoints.is_of(tmp_path / "session", newest)
    elsewhere = tmp_path / "elsewhere" / "a.hdf5"
    assert not checkpoints.is_of(tmp_path / "session", elsewhere)


def test_session_lies_where_the_config_lies(tmp_path):
    config = tiny_config(training={"path": str(tmp_path / "elsewhere")})
    path = tmp_path / "moved" / "config.json"
    assert checkpoints.find_session(path, config) == tmp_path / "elsewhere"
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "interrupted.hdf5").touch()
    assert checkpoints.find_session(path, config) == tmp_path / "moved"
    (tmp_path / "moved" / "interrupted.hdf5").unlink()
    (tmp_path / "moved" / "checkpoints").mkdir(parents=True)
    assert checkpoints.find_session(path, config) == tmp_path / "moved"


def test_description_of_a_file_of_2018(monkeypatch, capsys):
    path = str(golden_checkpoint("singing-voice"))
    monkeypatch.setattr("sys.argv", ["checkpoints.py", path])
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    facts = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in lines)
    assert facts["backend"] == "theano"
    assert facts["Keras version"] == "2.1.5"
    assert facts["epoch"] == "2"
    assert facts["parameters"] == "5,861"
    assert facts["task"] == "singing-voice (1 outputs)"
    assert "flipped" in facts["kernels"]
    assert facts["res_10_dilated_conv_d16_s1/kernel"] == "(3, 8, 16)"
    assert facts["conv1d_13/bias"] == "(1,)"


def test_the_backend_of_our_files_is_no_more_than_a_convention(tmp_path, rng):
    path = tmp_path / "checkpoint.00007-0.1.hdf5"
    checkpoints.write_checkpoint(path, random_weights(tiny_config(), rng))
    (line,) = [x for x in describe(path).splitlines() if x.startswith("backend ")]
    assert line.endswith(
        "tensorflow (how kernels are stored; files of JAX and torch say so, too)"
    )


def test_a_description_shows_a_terminal_nothing_that_it_would_obey(
    monkeypatch, capsys, tmp_path, rng
):
    evil = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e"
    path = tmp_path / f"{evil}.hdf5"
    checkpoints.write_checkpoint(path, random_weights(tiny_config(), rng))
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = f"{evil}\n2.1.5"
        file["model_weights"].attrs["keras_version"] = f"{evil}\n2.1.5"
        file["training_state/x"] = 1.0
        file["training_state"].attrs["epoch"] = evil
        file[f"model_weights/{evil}/kernel"] = np.ones(3)
    monkeypatch.setattr("sys.argv", ["", str(path)])
    assert main() == 0
    said = capsys.readouterr().out
    with h5py.File(path, "r+") as file:
        file[f"model_weights/{evil}/other/kernel"] = np.ones(3)
    assert main() == 1
    said += capsys.readouterr().err
    assert said.count(r"\x1b]0;title\x07") >= 5
    assert [c for c in said if not c.isprintable() and c != "\n"] == []


LAST = "model_weights/conv1d_9/conv1d_9/bias"


FULL = """
import pathlib, resource, sys
sys.path.insert(0, ".")
from sswavenet import checkpoints
from util import UserError
from tests.support import random_weights, tiny_config
import numpy as np
weights = random_weights(tiny_config(), np.random.default_rng(0))
path = pathlib.Path(sys.argv[1], "a.hdf5")
checkpoints.write_checkpoint(path, weights)
before = path.read_bytes()
for limit in (0, 500, 5000, len(before) - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        checkpoints.write_checkpoint(path, weights)
    except UserError as error:
        print(error)
    assert path.read_bytes() == before
assert [file.name for file in path.parent.iterdir()] == ["a.hdf5"]
"""


def test_a_full_disk_keeps_what_was_there(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    line = f"cannot write {tmp_path / 'a.hdf5'}: {os.strerror(errno.EFBIG)}"
    assert done.stdout.splitlines() == [line] * 4


def replaced(file, name, value):
    del file[name]
    file[name] = value


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda file: file.attrs.create("backend", h5py.Empty("f4")), "not said"),
        (lambda file: file.attrs.create("backend", [1, 2]), "not said"),
        # In a file, many texts may all be the same large one.
        (lambda file: file.attrs.create("backend", ["jax"] * 3), "not said"),
        (lambda file: replaced(file, LAST, 1.0), "(0 outputs)"),
        (
            lambda file: replaced(file, LAST, h5py.Empty("f4")),
            "(0 outputs)",
        ),
        (
            lambda file: file.create_dataset(
                f"model_weights/res_{'9' * 5000}/kernel", (2,), "f4"
            ),
            f"res_{'9' * 5000}/kernel (2,)",
        ),
    ],
)
def test_description_of_an_odd_file(spoil, line, tmp_path):
    path = tmp_path / "odd.hdf5"
    weights = random_weights(tiny_config(), np.random.default_rng(1))
    checkpoints.write_checkpoint(path, weights)
    with h5py.File(path, "r+") as file:
        del file["model_weights"].attrs["backend"]
        spoil(file)
    try:
        said = describe(path)
    except UserError as error:
        said = str(error)
    assert line in said


@pytest.mark.parametrize("name", ["none", "a\nb", "a" * 300])
def test_description_of_a_missing_file(name, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["checkpoints.py", str(tmp_path / name)])
    assert main() == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
