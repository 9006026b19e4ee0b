"""Keras 3's own files."""

import shutil
import warnings
import zipfile

import h5py
import numpy as np
import pytest

from sswavenet import checkpoints
from sswavenet.checkpoints.__main__ import describe
from tests.support import random_weights, tiny_config
from util import UserError


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
