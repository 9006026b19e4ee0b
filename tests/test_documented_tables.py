"""The tables of flags and keys say what the parser and the keys say."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess

import pytest

from main import build_parser
from sswavenet.config.document import parse_config
from sswavenet.config.keys import REQUIRED
from sswavenet.config.session import DERIVED, KEYS
from sswavenet.console import flags
from tests.documents import (
    ARCHITECTURE,
    CONFIG_MD,
    DOCUMENTS,
    USAGE,
    plain,
    read_commands,
    read_tables,
)
from tests.support import ROOT

TRAINING = DOCUMENTS["docs/training.md"]

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


def test_config_md_names_every_key_in_order():
    assert list(documented_keys()) == list(KEYS)


@pytest.mark.parametrize("name", KEYS)
def test_config_md_gives_a_keys_facts(name):
    key, row = KEYS[name], documented_keys()[name]
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
    assert list(rows) == [f"model.{name}" for name in DERIVED]
    for name in ("multi_instrument", "singing_voice"):
        document = json.loads((ROOT / f"config_{name}.json").read_text("utf-8"))
        full_size = parse_config(document, task_name=name.replace("_", "-"))
        for derived in DERIVED:
            shown = rows[f"model.{derived}"].split(" or ")
            assert str(getattr(full_size, derived)) in shown
        assert f"{full_size.num_params:,}" in ARCHITECTURE
