"""What stems are called: a template for their paths below the output folder."""

from __future__ import annotations

import os
import pathlib
import string

from util import UserError

DEFAULT = "{mixture}_{stem}"
FIELDS = ("mixture", "stem")


def complement(stem: str) -> str:
    """What the mixture without a stem is called."""
    return f"no_{stem}"


def check_template(template: str) -> None:
    """Refuse a template that names what there is not, or leads out of the folder."""
    problem = _problem(template)
    if problem:
        raise UserError(f"--output_name {template!r}: {problem}")


def _problem(template: str) -> str:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        return f"expected pairs of braces, got: {error}"
    fields = [name for _, name, _, _ in parts if name is not None]
    known = " and ".join(f"{{{name}}}" for name in FIELDS)
    for _, name, form, conversion in parts:
        if name is not None and (name not in FIELDS or form or conversion):
            return f"expected {known} as they are, got {{{name}}} or more"
    if "stem" not in fields:
        return "expected {stem} in it, which tells the stems apart"
    path = pathlib.PurePath(template)
    if path.anchor or ".." in path.parts or template.endswith(("/", "\\")):
        return "expected the name of a file within the output folder"
    return ""


def stem_path(template: str, mixture: str, stem: str, extension: str) -> str:
    """The path of a stem below the output folder; a UserError if it would lie outside.

    `mixture` is the mixture's path below the folder of mixtures, without extension.
    """
    parent, name = os.path.split(mixture)
    place = f"{template.format(mixture=name, stem=stem)}.{extension}"
    if os.path.isabs(place) or ".." in place:  # else it need not be looked at closely
        path = pathlib.PurePath(place)
        if path.anchor or ".." in path.parts:
            raise UserError(f"{mixture}: its stems would lie outside the output folder")
    return os.path.normpath(os.path.join(parent, place))
