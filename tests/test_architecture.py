"""The document of the architecture names what there is, and its walks lead through."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests.documents import ARCHITECTURE, plain, read_commands, read_tables
from tests.support import ROOT
from tests.test_imports import FLOOR, MODULES, imports_in

MAX_STEPS = 12  # files in a walk through the code


def named_modules():
    (table,) = [t for t in read_tables(ARCHITECTURE) if "Module" in t[0]]
    return [plain(row["Module"]) for row in table]


def test_architecture_names_every_module_and_folder_that_there_is():
    folders = (path.parent for path in ROOT.glob("sswavenet/*/__init__.py"))
    assert sorted(named_modules()) == sorted(
        [path.name for path in ROOT.glob("*.py")]
        + [f"{folder.relative_to(ROOT).as_posix()}/" for folder in folders]
    )


def test_architecture_goes_down_from_floor_to_floor():
    rooms = [pathlib.PurePath(name).stem for name in named_modules()]
    floors = [FLOOR[room] for room in rooms if room != "setup"]
    assert floors == sorted(floors)
    drawing = "\n".join(read_commands(ARCHITECTURE))
    for name in named_modules():
        assert name == "setup.py" or name.removeprefix("sswavenet/") in drawing


def read_walks():
    """For each walk of ARCHITECTURE.md the files that it leads to."""
    sections = ARCHITECTURE.split("\n## ")[1:]
    walks = {
        section.split("\n")[0]: re.findall(r"\]\(([^)]*\.py)\)", section)
        for section in sections
    }
    return {title: files for title, files in walks.items() if files}


WALKS = read_walks()


def imports_of(path):
    """What a file of ours imports; what a package passes on counts as well."""
    found = imports_in(path.read_text("utf-8"))
    for name in found & set(MODULES):
        if MODULES[name].name == "__init__.py":
            found |= imports_in(MODULES[name].read_text("utf-8"))
    return found


def test_there_are_three_walks():
    assert len(WALKS) == 3


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_leads_through_a_few_files_that_know_each_other(title):
    steps = [(ROOT / "docs" / step).resolve() for step in WALKS[title]]
    assert len(set(steps)) == len(steps) <= MAX_STEPS
    names = {path: name for name, path in MODULES.items()}
    assert set(steps) <= set(names), "a file of a walk is gone"
    imports = {path: imports_of(path) for path in steps}
    for number, path in enumerate(steps[1:], 1):
        assert any(
            names[path] in imports[before] or names[before] in imports[path]
            for before in steps[:number]
        ), f"nothing before it on this walk has to do with {names[path]}"
