"""Modules import only from below, and the lower ones stay free of Keras."""

from __future__ import annotations

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# From the top down; those of one line do not import each other.
LEVELS = (
    {"main", "grow"},
    {"commands", "arguments", "command_line", "flags"},
    {"startup"},
    {"training", "separate", "evaluate"},
    {"trainer", "stems"},
    {"network_source"},
    {"session_log", "shapes", "streaming", "score_report", "score_store"},
    {"report", "verify", "stream_keras", "stream_openvino"},
    {"models", "checkpoints", "datasets", "losses", "batches", "framing", "mixtures"},
    {"layers", "dataset_check", "scores", "checkpoint_layers", "augmentation"},
    {"dataset_cache", "hdf5"},
    {"dataset_tracks"},
    {"fused"},
    {"compat", "util", "standard_streams", "signals", "sound", "sound_writer", "pools"},
    {"sound_header", "sound_stream", "packages"},
    {"config"},
    {"session_config"},
    {"keys"},
    {"tasks"},
)
LEVEL = {module: level for level, modules in enumerate(LEVELS) for module in modules}
# Importing one of these takes seconds and wants a backend.
HEAVY = {"keras", "jax", "torch", "tensorflow", "theano", "openvino"}


def imports_in(source):
    """The top-level names of everything `source` imports, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "flat modules have no relative imports"
            names.add(node.module.split(".")[0])
    return names


def read_imports():
    """Of each module in the repository's root: the set of names that it imports."""
    return {
        path.stem: imports_in(path.read_text("utf-8")) for path in ROOT.glob("*.py")
    }


def reached_from(module, imports):
    """All that `module` imports, directly or through our own modules."""
    reached, waiting = set(), [module]
    while waiting:
        new = imports.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached


def test_finds_imports_wherever_they_stand():
    source = "import a.b, c\nfrom d.e import f\ndef g():\n    if h:\n        import i\n"
    assert imports_in(source) == {"a", "c", "d", "i"}


def test_follows_imports_through_our_own_modules():
    imports = {"top": {"middle"}, "middle": {"low", "top"}, "low": {"keras"}}
    assert reached_from("top", imports) == {"top", "middle", "low", "keras"}


def test_every_module_has_a_level():
    assert set(read_imports()) <= set(LEVEL), "say in LEVELS where a new module belongs"


def test_imports_point_down():
    wrong = [
        f"{module} imports {name}"
        for module, names in read_imports().items()
        for name in names & set(LEVEL)
        if LEVEL[module] >= LEVEL[name]
    ]
    assert wrong == []


def test_separate_does_not_import_models():
    assert "models" not in reached_from("separate", read_imports())


@pytest.mark.parametrize("module", ["config", "util", "datasets", "separate"])
def test_stays_free_of_keras(module):
    imports = read_imports()
    assert module in imports
    assert reached_from(module, imports).isdisjoint(HEAVY)


def test_command_line_loads_nothing_heavy_to_begin_with():
    tree = ast.parse((ROOT / "main.py").read_text("utf-8"))
    names = imports_in("\n".join(map(ast.unparse, filter(is_import, tree.body))))
    imports = read_imports()
    heavy = HEAVY | {"numpy", "scipy", "librosa", "matplotlib"}
    for name in names:
        assert name not in heavy
        assert reached_from(name, imports).isdisjoint(heavy), name


def is_import(node):
    return isinstance(node, (ast.Import, ast.ImportFrom))
