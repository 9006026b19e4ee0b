"""A session's config.json checked and made into a `Config`, and back.

A session is described by one JSON file with the sections `dataset`, `model`,
`optimizer` and `training`. This module checks it by the keys of `session.Config`. It
imports no Keras.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
from typing import Any

import util
from sswavenet.config.keys import REQUIRED, shown
from sswavenet.config.session import DERIVED, KEYS, Config
from sswavenet.config.tasks import MULTI_INSTRUMENT, TASKS
from util import UserError


def _flatten(
    section: dict, prefix: str, leaves: dict[str, Any], source: str
) -> dict[str, Any]:
    """Nested objects as dotted names, down to the names that `KEYS` holds."""
    for name, value in section.items():
        path = f"{prefix}{name}"
        inside = any(key.startswith(f"{path}.") for key in KEYS)
        if "." in name:
            leaves[f"{prefix}{name!r}"] = value  # a dot is no way into a section
        elif inside and isinstance(value, dict):
            _flatten(value, f"{path}.", leaves, source)
        elif inside:
            raise UserError(f"{source}{path} must be an object, got {shown(value)}")
        else:
            leaves[path] = value
    return leaves


def read_config(path: os.PathLike | str, task_name: str | None = None) -> Config:
    """Read a config.json; `parse_config` says the rest."""
    return parse_config(util.read_json(pathlib.Path(path)), str(path), task_name)


def parse_config(
    document: Any, source: str = "config", task_name: str | None = None
) -> Config:
    """Check a parsed JSON document, which messages call `source`; make a `Config`.

    `task_name` is the task where the document has no `model.type`; where it has one,
    the two must agree. Raises UserError where a key is missing, unknown or has a value
    that cannot be used; the message names the key, what was expected and what came.
    """
    prefix = f"{source}: "
    if not isinstance(document, dict):
        raise UserError(
            f"{prefix}expected a JSON object with the sections dataset, model, "
            f"optimizer and training, got {shown(document)}"
        )
    leaves = _flatten(document, "", {}, prefix)
    derived = {name: leaves.pop(f"model.{name}", None) for name in DERIVED}
    for name in leaves:
        if name not in KEYS:
            known = [*KEYS, *(f"model.{derived_name}" for derived_name in DERIVED)]
            # The time it takes grows with the name's length, which may be millions.
            nearest = difflib.get_close_matches(name[:100], known, n=1, cutoff=0)
            raise UserError(
                f"{prefix}unknown key {shown(name)}; the nearest known key is "
                f"{nearest[0]!r}"
            )
    given = leaves.get("model.type")
    if given is None:
        leaves["model.type"] = task_name or MULTI_INSTRUMENT
    elif task_name is not None and given in TASKS and given != task_name:
        raise UserError(
            f"{prefix}model.type is {given!r}, but --target asks for {task_name!r}"
        )
    fields = {}
    for name, key in KEYS.items():
        if key.field is None:
            continue
        if name in leaves:
            fields[key.field] = key.checked(name, leaves[name], prefix)
        elif key.default is REQUIRED:
            raise UserError(f"{prefix}key {name} is missing; expected {key.expected}")
        else:
            fields[key.field] = key.default
    config = Config(**fields)
    _check_consistency(config, derived, prefix)
    return config


def _check_consistency(config: Config, derived: dict[str, Any], prefix: str) -> None:
    """Checks that need more than one key."""
    expected = len(config.task.supervised)
    if len(config.losses) != expected:
        raise UserError(
            f"{prefix}training.loss must have the keys out_1 to out_{expected} for "
            f"{config.task_name}, got {len(config.losses)}; --target chooses the task"
        )
    if config.target_padding > config.receptive_field_length // 2:
        raise UserError(
            f"{prefix}model.target_padding must be at most half the receptive field "
            f"({config.receptive_field_length // 2}), got {config.target_padding}"
        )
    for name, value in derived.items():
        computed = getattr(config, name)
        if value is not None and value != computed:
            raise UserError(
                f"{prefix}model.{name} is {shown(value)}, but the other keys give "
                f"{computed}"
            )


def to_document(config: Config) -> dict:
    """The JSON document of a session: the 2018 layout with its derived keys.

    Optional keys that the 2018 program did not have are left out where they have
    their default, but for the seed, which a session always records.
    """
    document: dict = {}
    for name, key in KEYS.items():
        value = key.default if key.field is None else getattr(config, key.field)
        if key.added and value == key.default and name != "training.seed":
            continue
        *sections, last = name.split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        if name == "dataset.path":
            value = dict(value) if len(value) > 1 else value[0][0]
        if name == "training.loss":
            value = {
                f"out_{k}": dataclasses.asdict(loss) for k, loss in enumerate(value, 1)
            }
        place[last] = list(value) if isinstance(value, tuple) else value
    dilations = config.dilations
    if dilations == tuple(2**power for power in range(len(dilations))):
        # As in the original: powers of two are written as the last one's exponent.
        document["model"]["dilations"] = len(dilations) - 1
    document["model"].update({name: getattr(config, name) for name in DERIVED})
    return document
