"""The documents say what the parser, the keys, the tests and the folders say."""

from __future__ import annotations

import argparse
import ast
import json
import pathlib
import re
import shlex
import subprocess
import xml.etree.ElementTree as ET

import pytest

from main import build_parser
from sswavenet.config import session as config
from sswavenet.config.document import parse_config
from sswavenet.config.keys import REQUIRED
from sswavenet.console import flags
from tests.test_imports import FLOOR, MODULES, imports_in

ROOT = pathlib.Path(__file__).parents[1]


def list_documents():
    """The paths of all documents of the repository, relative to it."""
    arguments = ["--cached", "--others", "--exclude-standard", "*.md"]
    done = subprocess.run(
        ["git", "ls-files", *arguments], cwd=ROOT, capture_output=True, check=True
    )
    paths = map(pathlib.PurePosixPath, done.stdout.decode().splitlines())
    return sorted(path for path in paths if (ROOT / path).exists())


DOCUMENTS = {str(path): (ROOT / path).read_text("utf-8") for path in list_documents()}
README = DOCUMENTS["README.md"]
USAGE = DOCUMENTS["docs/usage.md"]
TRAINING = DOCUMENTS["docs/training.md"]
CONFIG_MD = DOCUMENTS["config.md"]
ARCHITECTURE = DOCUMENTS["docs/ARCHITECTURE.md"]
WHAT_HAPPENS = DOCUMENTS["docs/what-happens-when.md"]
# By what a row of that document says first: the tests that show it.
SHOWN_BY = json.loads((ROOT / "tests" / "what_happens_when.json").read_text("utf-8"))

MAX_README_LINES = 200
MAX_STEPS = 12  # files in a walk through the code

# What usage.md writes for a flag's metavar.
VALID_INPUTS = {
    "ADDRESS": "address",
    "NAME=N,...": "NAME=N,...",
    "FILE": "file",
    "MIXTURE": "files, folders",
    "SESSION": "name, folder, config.json",
    "FOLDER": "folder",
    "PATH": "file or folder",
    "N": "whole number from 1",
    "NAME": "name",
    "TIME": "seconds or h:m:s",
    "BITS": "bits a second, as 192k",
    "NAME,...": "names with commas",
    "True|False": "True, False",
}


def plain(cell):
    """A table's cell without its markup."""
    return cell.replace("`", "").replace("\\", "").strip()


def read_tables(text):
    """The tables of a Markdown text: a list of rows, each a dict by column name."""
    tables, header = [], None
    for line in text.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if header is None:
            header = cells
            tables.append([])
        elif not set("".join(cells)) <= set("- :"):
            tables[-1].append(dict(zip(header, cells, strict=True)))
    return tables


def read_commands(text):
    """The lines of a Markdown text's blocks of code."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


def documented_arguments():
    tables = read_tables(USAGE)
    rows = [row for table in tables if "Argument" in table[0] for row in table]
    return {plain(row["Argument"]): row for row in rows}


def parser_actions():
    actions = build_parser()._actions
    return {
        a.option_strings[-1] if a.option_strings else a.metavar: a
        for a in actions
        if a.dest != "help"
    }


def documented_keys():
    tables = read_tables(CONFIG_MD)
    rows = [row for table in tables if "Value" in table[0] for row in table]
    return {plain(row["Key"]): row for row in rows}


def test_tables_are_read_cell_by_cell():
    text = "a\n\n| A | B |\n| - | -: |\n| `x` | 1 |\n\n| C |\n| - |\n| y |\n"
    assert read_tables(text) == [[{"A": "`x`", "B": "1"}], [{"C": "y"}]]


def test_usage_names_every_argument_in_the_order_of_help():
    assert list(documented_arguments()) == list(parser_actions())


@pytest.mark.parametrize("flag", parser_actions())
def test_usage_gives_an_arguments_values(flag):
    action = parser_actions()[flag]
    expected = (
        ", ".join(action.choices) if action.choices else VALID_INPUTS[action.metavar]
    )
    assert plain(documented_arguments()[flag]["Valid inputs"]) == expected


@pytest.mark.parametrize("flag", parser_actions())
def test_usage_gives_an_arguments_default(flag):
    action = parser_actions()[flag]
    expected = "; ".join(re.findall(r"\(default: (.*?)\)", action.help))
    cell = documented_arguments()[flag]
    assert plain(cell["Default"]) == expected
    if action.default not in (None, []):
        value = action.default
        shown = ",".join(value) if isinstance(value, tuple) else str(value)
        assert cell["Default"] == f"`{shown}`"
    assert cell["Description"]


def example_commands():
    """The lines with a command of this program, in any document."""
    lines = (line for text in DOCUMENTS.values() for line in read_commands(text))
    return sorted({line for line in lines if re.search(r"^\S.*\bmain\.py \S", line)})


@pytest.mark.parametrize("line", example_commands())
def test_an_examples_arguments_are_known(line):
    words = re.split(" [<>] ", line.split("main.py ")[1])[0]
    args = flags.parse(build_parser(), shlex.split(words))
    assert isinstance(args, argparse.Namespace)


def test_usage_says_which_flags_work_where():
    section = USAGE.split("\n## Arguments\n")[1].split("\n## ")[0]
    tables = {
        part.split("\n")[0]: set(re.findall(r"^\| `--(\w+)`", part, flags=re.M))
        for part in section.split("\n### ")[1:]
    }

    def named(start):
        (sentence,) = re.findall(rf"^{start}.*?\.$", section, flags=re.M | re.S)
        return set(re.findall(r"`--(\w+)`", sentence))

    uses = (flags.TRAINING, flags.FILES, flags.STREAM, flags.EVALUATION)
    training, files, stream, evaluation = (
        {
            name.lstrip("-")
            for name in parser_actions()
            if name.startswith("--")
            if use in flags.WORKS_WITH.get(name.lstrip("-"), uses)
        }
        for use in uses
    )
    everywhere = tables["For every mode"]
    assert training == everywhere - named("Training takes no")
    assert files == everywhere | tables["Separation"]
    assert stream == everywhere - {"print_model_summary"} | named("A stream takes")
    assert evaluation == everywhere | tables["Evaluation"] | named("An evaluation")
    assert set(flags.WORKS_WITH) <= training | files | evaluation


def test_the_example_with_two_devices_trains_a_session_of_its_own():
    """That of `make train-demo` may be finished, and nothing would happen."""
    (command,) = [line for line in read_commands(TRAINING) if line.startswith("sed ")]
    made, _, name = command.partition(" > ")
    done = subprocess.run(made.split(), cwd=ROOT, capture_output=True, check=True)
    demo = json.loads((ROOT / "config_demo.json").read_text("utf-8"))
    example = json.loads(done.stdout)
    assert example["training"].pop("path") != demo["training"].pop("path")
    assert example == demo
    assert any(f"--config {name}" in line for line in read_commands(TRAINING))


@pytest.mark.parametrize("folder", ["samples", "evaluation", "evaluation-native"])
def test_what_runs_leave_in_a_shipped_session_is_no_change_to_it(folder):
    path = f"sessions/multi-instrument/{folder}/summary.csv"
    ignored = ["git", "check-ignore", "--quiet", path]
    assert subprocess.run(ignored, cwd=ROOT).returncode == 0


def test_config_md_names_every_key_in_order():
    assert list(documented_keys()) == list(config.KEYS)


@pytest.mark.parametrize("name", config.KEYS)
def test_config_md_gives_a_keys_facts(name):
    key, row = config.KEYS[name], documented_keys()[name]
    assert plain(row["Value"]) == key.expected
    assert row["2018"] == ("no" if key.added else "yes")
    assert row["Meaning and effect"].startswith("Unused") == (key.field is None)
    if name == "model.type":
        assert plain(row["Default"]) == "by --target"
    elif key.default is REQUIRED:
        assert row["Default"] == "required"
    else:
        assert row["Default"] == f"`{json.dumps(key.default)}`"


def test_config_md_gives_the_derived_keys_of_the_full_size_networks():
    tables = read_tables(CONFIG_MD)
    (table,) = [table for table in tables if "Full size" in table[0]]
    rows = {plain(row["Key"]): row["Full size"].replace(",", "") for row in table}
    assert list(rows) == [f"model.{name}" for name in config.DERIVED]
    for name in ("multi_instrument", "singing_voice"):
        document = json.loads((ROOT / f"config_{name}.json").read_text("utf-8"))
        full_size = parse_config(document, task_name=name.replace("_", "-"))
        for derived in config.DERIVED:
            shown = rows[f"model.{derived}"].split(" or ")
            assert str(getattr(full_size, derived)) in shown
        assert f"{full_size.num_params:,}" in ARCHITECTURE


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
