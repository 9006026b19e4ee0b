"""The notebook of examples/, run as Jupyter runs it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import types

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PATH = ROOT / "examples/separate.ipynb"
# In place of what stands in the cell that is marked for it.
PARAMETERS = f"\nCHECKOUT = {str(ROOT)!r}\nEPOCHS, STEPS = 1, 3"
STEMS = ["vocals", "drums", "bass", "other"]
AUDIO = re.compile(r"<audio .*?data:audio/wav;base64,", re.S)


def read():
    """The cells of code, by their names."""
    cells = json.loads(PATH.read_text("utf-8"))["cells"]
    return {cell["id"]: cell for cell in cells if cell["cell_type"] == "code"}


def source(name):
    return "".join(read()[name]["source"])


def test_nothing_that_a_run_leaves_is_kept():
    for name, cell in read().items():
        assert (cell["outputs"], cell["execution_count"]) == ([], None), name
        assert not re.search(r"(?<![\w.}])/(work|root|tmp|home|Users)/", source(name))


def run(folder):
    """The cells after a run in a folder, by their names."""
    pytest.importorskip("ipykernel", reason="make .venv/notebook-installed")
    nbclient = pytest.importorskip("nbclient", reason="make .venv/notebook-installed")
    nbformat = pytest.importorskip("nbformat", reason="make .venv/notebook-installed")
    places = ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR", "TMPDIR")
    own = {place: str(folder / place.lower()) for place in places}
    for path in own.values():
        pathlib.Path(path).mkdir()
    notebook = nbformat.read(PATH, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source += PARAMETERS
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT)}
    # Jupyter's own backend draws, and it shows what other processes print.
    for name in ("MPLBACKEND", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(folder)}}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", own["JUPYTER_RUNTIME_DIR"])
        client.execute(env=environment)
    return {cell.id: cell for cell in notebook.cells}


def printed(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


def shown(cell, kind):
    """What a cell shows of a media type."""
    data = [output.get("data", {}) for output in cell.outputs]
    return [each[kind] for each in data if kind in each]


@pytest.mark.slow
def test_it_separates_plays_draws_and_trains(tmp_path):
    cells = run(tmp_path)
    assert cells["install"].outputs == []
    assert shown(cells["load"], "text/plain") == [str(tuple(STEMS))]
    assert "16.0 s at 44100 Hz, shape (705600, 2)" in printed(cells["separate"])
    players = shown(cells["listen"], "text/html")
    assert len([text for text in players if AUDIO.search(text)]) == 5
    assert printed(cells["listen"]).split() == ["mixture", *STEMS]
    assert len(shown(cells["look"], "image/png")) == 1

    assert "epoch 1 of 1: loss" in printed(cells["train"])
    assert len(list((tmp_path / "demo/session/checkpoints").glob("*.hdf5"))) == 1
    lines = printed(cells["trained"]).splitlines()
    errors = [line.split(":")[0] for line in lines if "mean error" in line]
    assert errors == STEMS
    assert len(shown(cells["trained"], "text/html")) == 5
    assert len(shown(cells["trained"], "image/png")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("is_there", [True, False])
def test_the_checkout_is_installed_where_the_package_is_not_there(
    is_there, monkeypatch
):
    inputs = pytest.importorskip(
        "IPython.core.inputtransformer2", reason="make .venv/notebook-installed"
    )
    spec = object() if is_there else None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    magics = []
    shell = types.SimpleNamespace(run_line_magic=lambda *words: magics.append(words))
    code = inputs.TransformerManager().transform_cell(source("install"))
    exec(code, {"get_ipython": lambda: shell})
    expected = [] if is_there else [("pip", 'install --quiet "{CHECKOUT}"')]
    assert magics == expected
