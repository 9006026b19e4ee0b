"""The documents of the repository, and how tests read them."""

from __future__ import annotations

import pathlib
import re
import subprocess

from tests.support import ROOT


def list_documents():
    """The paths of all documents of the repository, relative to it."""
    arguments = ["--cached", "--others", "--exclude-standard", "*.md"]
    done = subprocess.run(
        ["git", "ls-files", *arguments], cwd=ROOT, capture_output=True, check=True
    )
    paths = map(pathlib.PurePosixPath, done.stdout.decode().splitlines())
    return sorted(path for path in paths if (ROOT / path).exists())


DOCUMENTS = {str(path): (ROOT / path).read_text("utf-8") for path in list_documents()}
USAGE = DOCUMENTS["docs/usage.md"]
CONFIG_MD = DOCUMENTS["config.md"]
ARCHITECTURE = DOCUMENTS["docs/ARCHITECTURE.md"]


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
