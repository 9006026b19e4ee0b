"""README.md and config.md say what the parser, the keys and the folder say."""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import subprocess
import xml.etree.ElementTree as ET

import pytest

from sswavenet.config import document as config
from sswavenet.console import flags
from sswavenet.console import parser as arguments

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
CONFIG_MD = (ROOT / "config.md").read_text("utf-8")

# What README writes for a flag's metavar.
VALID_INPUTS = {
    "FILE": "file",
    "FOLDER": "folder",
    "PATH": "file or folder",
    "N": "whole number from 1",
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
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


def documented_arguments():
    tables = read_tables(README)
    rows = [row for table in tables if "Argument" in table[0] for row in table]
    return {plain(row["Argument"]): row for row in rows}


def parser_actions():
    actions = arguments.build_parser()._actions
    return {a.option_strings[-1]: a for a in actions if a.dest != "help"}


def documented_keys():
    tables = read_tables(CONFIG_MD)
    rows = [row for table in tables if "Value" in table[0] for row in table]
    return {plain(row["Key"]): row for row in rows}


def test_tables_are_read_cell_by_cell():
    text = "a\n\n| A | B |\n| - | -: |\n| `x` | 1 |\n\n| C |\n| - |\n| y |\n"
    assert read_tables(text) == [[{"A": "`x`", "B": "1"}], [{"C": "y"}]]


def test_readme_names_every_argument_in_the_order_of_help():
    assert list(documented_arguments()) == list(parser_actions())


@pytest.mark.parametrize("flag", parser_actions())
def test_readme_gives_an_arguments_values(flag):
    action = parser_actions()[flag]
    expected = (
        ", ".join(action.choices) if action.choices else VALID_INPUTS[action.metavar]
    )
    assert plain(documented_arguments()[flag]["Valid inputs"]) == expected


@pytest.mark.parametrize("flag", parser_actions())
def test_readme_gives_an_arguments_default(flag):
    action = parser_actions()[flag]
    expected = "; ".join(re.findall(r"\(default: (.*?)\)", action.help))
    cell = documented_arguments()[flag]
    assert plain(cell["Default"]) == expected
    if action.default is not None:
        value = action.default
        shown = ",".join(value) if isinstance(value, tuple) else str(value)
        assert cell["Default"] == f"`{shown}`"
    assert cell["Description"]


def test_the_examples_arguments_are_known():
    commands = [line for line in read_commands(README) if " main.py " in line]
    assert commands
    for line in commands:
        words = re.split(" [<>] ", line.split(" main.py ")[1])[0].split()
        assert isinstance(
            flags.parse(arguments.build_parser(), words), argparse.Namespace
        ), line


def test_readme_says_which_flags_work_where():
    section = README.split("\n## Arguments\n")[1].split("\n## ")[0]
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
            if use in flags.WORKS_WITH.get(name.lstrip("-"), uses)
        }
        for use in uses
    )
    everywhere = tables["For every mode"]
    assert training == everywhere
    assert files == everywhere | tables["Separation"]
    assert stream == everywhere - {"print_model_summary"} | named("A stream takes")
    assert evaluation == everywhere | tables["Evaluation"] | named("An evaluation")
    assert set(flags.WORKS_WITH) <= training | files | evaluation


def test_the_example_with_two_devices_trains_a_session_of_its_own():
    """That of `make train-demo` may be finished, and nothing would happen."""
    (command,) = [line for line in read_commands(README) if line.startswith("sed ")]
    made, _, name = command.partition(" > ")
    done = subprocess.run(made.split(), cwd=ROOT, capture_output=True, check=True)
    demo = json.loads((ROOT / "config_demo.json").read_text("utf-8"))
    example = json.loads(done.stdout)
    assert example["training"].pop("path") != demo["training"].pop("path")
    assert example == demo
    assert any(f"--config {name}" in line for line in read_commands(README))


@pytest.mark.parametrize("folder", ["samples", "evaluation"])
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
    elif key.default is config.REQUIRED:
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
        full_size = config.parse_config(document, task_name=name.replace("_", "-"))
        for derived in config.DERIVED:
            shown = rows[f"model.{derived}"].split(" or ")
            assert str(getattr(full_size, derived)) in shown
        assert f"{full_size.num_params:,}" in README


def test_readme_names_every_module_and_folder_that_there_is():
    tables = read_tables(README)
    (table,) = [table for table in tables if "Module" in table[0]]
    named = [plain(row["Module"]) for row in table]
    folders = (path.parent for path in ROOT.glob("sswavenet/*/__init__.py"))
    assert sorted(named) == sorted(
        [path.name for path in ROOT.glob("*.py")]
        + [f"{folder.relative_to(ROOT).as_posix()}/" for folder in folders]
    )


def test_the_make_targets_named_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([\w.-]+):", makefile, flags=re.M))
    pattern = r"(?:^|`)make\s+([a-z.][a-z.-]*)"
    named = set(re.findall(pattern, README + CONFIG_MD, flags=re.M))
    assert {"separate", "test"} <= named <= targets


@pytest.mark.parametrize("text", [README, CONFIG_MD], ids=["README", "config"])
def test_links_into_the_repository_lead_somewhere(text):
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    anchors = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, flags=re.M)
    }
    for link in links:
        if link.startswith("#"):
            assert link[1:] in anchors
        elif not link.startswith("http"):
            assert (ROOT / link).exists(), link


def test_documents_hold_no_path_of_a_machine():
    found = [
        (path.name, line)
        for path in ROOT.glob("**/*.md")
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"(?<![\w.~>/])/(work|root|tmp|home|Users|opt|mnt|var)/", line)
    ]
    assert found == []


def test_the_diagram_is_a_drawing_with_a_text_for_those_who_do_not_see_it():
    root = ET.parse(ROOT / "img" / "network.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for name in ("title", "desc"):
        element = root.find(f"{{http://www.w3.org/2000/svg}}{name}")
        assert element is not None
        assert element.text
