"""The documents hold together, and with the tests, the targets and the folders."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import xml.etree.ElementTree as ET

import pytest

from tests.documents import DOCUMENTS, read_tables
from tests.support import ROOT

README = DOCUMENTS["README.md"]
WHAT_HAPPENS = DOCUMENTS["docs/what-happens-when.md"]
# By what a row of that document says first: the tests that show it.
SHOWN_BY = json.loads((ROOT / "tests" / "what_happens_when.json").read_text("utf-8"))

MAX_README_LINES = 200


@pytest.mark.parametrize("folder", ["samples", "evaluation", "evaluation-native"])
def test_what_runs_leave_in_a_shipped_session_is_no_change_to_it(folder):
    path = f"sessions/multi-instrument/{folder}/summary.csv"
    ignored = ["git", "check-ignore", "--quiet", path]
    assert subprocess.run(ignored, cwd=ROOT).returncode == 0


def names_of_tests(path):
    tree = ast.parse(path.read_text("utf-8"))
    return {
        f"{path.stem}::{node.name}"
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_of_what_happens_when_is_shown_by_tests_that_exist():
    tables = [t for t in read_tables(WHAT_HAPPENS) if "When" in t[0]]
    rows = [row["When"] for table in tables for row in table]
    assert len(rows) > 60
    assert list(SHOWN_BY) == ["Three rules hold everywhere", *rows]
    known = set().union(*map(names_of_tests, (ROOT / "tests").rglob("test_*.py")))
    for row, tests in SHOWN_BY.items():
        assert tests, row
        assert set(tests) <= known, row


def test_a_fault_says_what_to_do():
    for table in read_tables(WHAT_HAPPENS)[1:]:
        for row in table:
            assert row["What to do"] or row["Exit status"] not in ("1", "2"), row


def test_readme_is_a_page_to_land_on():
    assert len(README.splitlines()) <= MAX_README_LINES
    for path in DOCUMENTS:
        if path.startswith("docs/"):
            assert f"]({path})" in README, "README leads to every document"


def sentences(text):
    """The longer sentences of a document's running text."""
    text = re.sub(r"^```.*?^```|<!--.*?-->", "", text, flags=re.M | re.S)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "    "))]
    found = re.split(r"(?<=[.:;])\s+", " ".join(" ".join(lines).split()))
    return {sentence for sentence in found if len(sentence.split()) >= 9}


def test_nothing_is_said_twice():
    seen: dict = {}
    for path, text in DOCUMENTS.items():
        if path.endswith(("MODEL_CARD.md", "CHANGELOG.md")):
            continue  # these tell of one session, and of the past
        for sentence in sentences(text):
            assert sentence not in seen, f"{path} and {seen[sentence]}: {sentence}"
            seen[sentence] = path


def test_the_make_targets_named_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([\w.-]+):", makefile, flags=re.M))
    for line in re.findall(r"^(grow-\S+ \S+): ", makefile, flags=re.M):
        targets.update(line.split())
    pattern = r"(?:^|`)make\s+([a-z.][a-z.-]*)"
    named = {
        path: set(re.findall(pattern, text, flags=re.M))
        for path, text in DOCUMENTS.items()
    }
    assert {"separate", "train-demo"} <= named["README.md"]
    for path, names in named.items():
        assert names <= targets, path


def anchors_of(text):
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_into_the_repository_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", DOCUMENTS[path]):
        if link.startswith(("http:", "https:")):
            continue
        target, _, anchor = link.partition("#")
        place = ((ROOT / path).parent / target if target else ROOT / path).resolve()
        assert place.exists(), link
        if anchor:
            assert anchor in anchors_of(place.read_text("utf-8")), link


def test_documents_hold_no_path_of_a_machine():
    found = [
        (path, line)
        for path, text in DOCUMENTS.items()
        for line in text.splitlines()
        if re.search(r"(?<![\w.~>/])/(work|root|tmp|home|Users|opt|mnt|var)/", line)
    ]
    assert found == []


def test_the_diagram_is_a_drawing_with_a_text_for_those_who_do_not_see_it():
    root = ET.parse(ROOT / "docs" / "img" / "network.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for name in ("title", "desc"):
        element = root.find(f"{{http://www.w3.org/2000/svg}}{name}")
        assert element is not None
        assert element.text
