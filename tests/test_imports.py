"""Imports only point down, lower modules stay free of Keras, and none is long."""

from __future__ import annotations

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "sswavenet"

# From the top down; those of one line do not import each other.
FLOORS = (
    {"__main__", "setup"},
    {"main"},
    {"app"},
    {"sswavenet"},  # its public names
    {"cluster"},
    {"training", "evaluation"},
    {"separation"},
    {"models", "datasets"},
    {"layers"},
    {"checkpoints", "musdb"},
    {"backend", "sound", "page"},
    {"console"},
    {"config"},
    {"util"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Importing one of these takes seconds and wants a backend.
HEAVY = {"keras", "jax", "torch", "tensorflow", "theano"}

# By the names that they are imported by, packages included.
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): (
        path
    )
    for path in (*ROOT.glob("*.py"), *PACKAGE.rglob("*.py"))
}


def imports_in(source, modules=MODULES):
    """The modules that `source` imports, in functions too: of other people's packages
    the first part of the name, of ours the whole."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name what they mean in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in modules else node.module)
    return {name if name in modules else name.split(".")[0] for name in names}


def read_imports():
    """Of each of our modules: the set of names that it imports."""
    return {name: imports_in(path.read_text("utf-8")) for name, path in MODULES.items()}


def reached_from(module, imports):
    """All that `module` imports, directly or through our own modules."""
    reached, waiting = set(), [module]
    while waiting:
        new = imports.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached


def room_of(module):
    """The folder of a module in the package, or a top-level module itself."""
    first, *rest = module.split(".")
    return rest[0] if first == PACKAGE.name and rest else first


def test_finds_imports_wherever_they_stand():
    source = (
        "import a.b, c\nfrom d.e import f\ndef g():\n    if h:\n        import i\n"
        "from p import q, r\n"
    )
    found = imports_in(source, modules={"p", "p.q"})
    assert found == {"a", "c", "d", "i", "p", "p.q"}


def test_follows_imports_through_our_own_modules():
    imports = {"top": {"middle"}, "middle": {"low", "top"}, "low": {"keras"}}
    assert reached_from("top", imports) == {"top", "middle", "low", "keras"}


def test_every_room_has_a_floor():
    rooms = set(map(room_of, MODULES))
    assert rooms == set(FLOOR), "say in FLOORS where a new folder belongs"


def test_imports_point_down():
    wrong = [
        f"{module} imports {name}"
        for module, names in read_imports().items()
        for name in names & set(MODULES)
        if (here := room_of(module)) != (there := room_of(name))
        and FLOOR.get(here, 0) >= FLOOR.get(there, 0)
    ]
    assert wrong == []


def test_modules_do_not_import_each_other_in_a_circle():
    imports = read_imports()
    ours = {name: names & set(imports) for name, names in imports.items()}
    graphlib.TopologicalSorter(ours).prepare()  # raises CycleError with the circle


def test_separating_a_folder_does_not_import_models():
    imports = read_imports()
    assert "models" not in reached_from("sswavenet.separation.folder", imports)


def test_every_module_can_be_read_in_one_sitting():
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > 300} == {}


@pytest.mark.parametrize(
    "module",
    [
        "sswavenet.config.document",
        "util",
        "datasets",
        "sswavenet.separation.folder",
    ],
)
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
