"""Instruments in SFZ files: which recording a note plays.

Understood are headers and their inheritance, #include, #define, default_path, keys,
velocity layers, round robin (in turn or at random), conditions and crossfades of
controllers, which stand where the file sets them, releases, levels, tuning and what a
new note silences. Filters, envelopes but for attack and release, LFOs, legato and key
switches are passed over.

Reference: https://sfzformat.com
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import random
import re
from collections.abc import Mapping

from util import UserError

TOKEN = re.compile(
    r"<(?P<header>\w+)>|(?P<key>[\w$]+)=(?P<value>.*?)(?=\s+[\w$]+=|\s*<|\s*$)"
)
DIRECTIVE = re.compile(
    r'\s*#(include\s+"(?P<file>[^"]+)"|define\s+(?P<name>\$\w+)\s+(?P<to>\S+))'
)
CURVE = re.compile(r"amp_velcurve_(\d+)")
LEVELS = ("global", "master", "group", "region")
NOTES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
# Recordings may have been encoded anew under their names.
SUFFIXES = (".wav", ".flac", ".ogg", ".WAV", ".aif", ".aiff")
DEEPEST = 10  # includes within includes


@dataclasses.dataclass(frozen=True)
class Region:
    """One recording and when it plays."""

    path: pathlib.Path
    opcodes: Mapping[str, str]  # what the SFZ file says of it, with what it inherits
    controllers: Mapping[int, int]  # where the controllers stand, 0 to 127

    def number(self, opcode: str, default: float = 0.0) -> float:
        """An opcode's value, as the controllers move it."""
        value = float(self.opcodes.get(opcode, default))
        for key, amount in self.opcodes.items():
            moved = re.fullmatch(rf"{opcode}_?(?:on)?cc(\d+)", key)
            if moved:
                value += float(amount) * self.controllers.get(int(moved[1]), 0) / 127
        return value

    def key(self, opcode: str, default: int) -> int:
        """A MIDI key, written as a number or a name such as c#4."""
        text = self.opcodes.get(opcode, self.opcodes.get("key", str(default))).lower()
        name = re.fullmatch(r"([a-g])([#b]?)(-?\d)", text)
        if not name:
            return int(text)
        step = {"#": 1, "b": -1, "": 0}[name[2]]
        return NOTES[name[1]] + step + 12 * (int(name[3]) + 1)

    @property
    def trigger(self) -> str:
        """When it plays: "attack", "release" and others."""
        return self.opcodes.get("trigger", "attack")

    @functools.cached_property
    def _limits(self) -> tuple[float, ...]:
        get = self.opcodes.get
        names = (("lovel", 0), ("hivel", 127), ("lorand", 0), ("hirand", 1))
        limits = (float(get(name, default)) for name, default in names)
        return self.key("lokey", 0), self.key("hikey", 127), *limits

    @functools.cached_property
    def _sequence(self) -> tuple[int, int]:
        get = self.opcodes.get
        return int(get("seq_length", 1)), int(get("seq_position", 1))

    def plays(self, key: int, velocity: int, chance: float, turn: int) -> bool:
        """Whether a note plays it.

        For the note `chance` was drawn, from 0 up to 1, and `turn` notes of that key
        came before it.
        """
        low, high, soft, loud, least, most = self._limits
        length, position = self._sequence
        return (
            low <= key <= high
            and soft <= velocity <= loud
            and least <= chance < most
            and turn % length + 1 == position
        )

    def gain(self, velocity: int) -> float:
        """Its amplitude for a velocity."""
        gain = 10 ** (float(self.opcodes.get("volume", 0)) / 20)
        gain *= float(self.opcodes.get("amplitude", 100)) / 100
        full = [int(found[1]) for found in map(CURVE.fullmatch, self.opcodes) if found]
        # One layer of several is full at its loudest velocity, and falls in a line.
        curve = min(1.0, velocity / max(full)) if full else (velocity / 127) ** 2
        track = float(self.opcodes.get("amp_veltrack", 100)) / 100
        return gain * (1 - track + track * curve)


def _text(path: pathlib.Path, root: pathlib.Path, depth: int = 0) -> list[str]:
    """The lines of a file and of those it includes, without comments."""
    if depth > DEEPEST:
        raise UserError(f"{path}: includes itself")
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    out = []
    for line in lines:
        line = line.split("//")[0].rstrip()
        found = DIRECTIVE.match(line)
        if found and found["file"]:
            out += _text(root / found["file"].replace("\\", "/"), root, depth + 1)
        else:
            out.append(line)
    return out


def _recording(folder: pathlib.Path, name: str) -> pathlib.Path:
    """A recording by the name that the SFZ file gives it, or under another format."""
    path = folder / name.strip().replace("\\", "/")
    for suffix in (path.suffix, *SUFFIXES):
        if path.with_suffix(suffix).exists():
            return path.with_suffix(suffix)
    return path


@functools.cache
def load(
    path: pathlib.Path, settings: tuple[tuple[int, int], ...] = ()
) -> tuple[Region, ...]:
    """Reads the regions of an SFZ file that its controllers let play.

    `settings` say where controllers stand, other than the file sets them. Raises
    UserError where a file cannot be read.
    """
    found: dict[str, dict[str, str]] = {level: {} for level in LEVELS}
    control: dict[str, str] = {}
    defines = {"$sample_dir": "../Samples"}  # shinyguitar leaves it to its caller
    drafts: list[tuple[dict[str, str], str]] = []
    current = control
    for line in _text(path, path.parent):
        define = DIRECTIVE.match(line)
        if define:
            defines[define["name"]] = define["to"]
            continue
        for name in sorted(defines, key=len, reverse=True):
            line = line.replace(name, defines[name])
        for token in TOKEN.finditer(line):
            header = token["header"]
            if header in LEVELS:
                for below in LEVELS[LEVELS.index(header) :]:
                    found[below] = {}
                current = found[header]
                if header == "region":
                    inherited: dict[str, str] = {}
                    for level in LEVELS[:-1]:
                        inherited.update(found[level])
                    current = inherited
                    drafts.append((current, control.get("default_path", "")))
            elif header:
                current = control if header == "control" else {}
            else:
                current[token["key"]] = token["value"].strip()
    controllers = {
        int(key[6:]): int(value)
        for key, value in control.items()
        if re.fullmatch(r"set_cc\d+", key)
    }
    controllers.update(settings)
    regions = (
        Region(
            _recording(path.parent, prefix + opcodes["sample"]), opcodes, controllers
        )
        for opcodes, prefix in drafts
        if not opcodes.get("sample", "*").startswith("*")  # those are generated
    )
    return tuple(region for region in regions if _sounds(region))


def _sounds(region: Region) -> bool:
    """Whether the controllers and key switches let a region play."""
    if region.trigger == "legato" or region.opcodes.get("sw_last"):
        return False
    for key, value in region.opcodes.items():
        found = re.fullmatch(r"(lo|hi|xfin_hi|xfout_lo)cc(\d+)", key)
        if not found:
            continue
        at = region.controllers.get(int(found[2]), 0)
        if found[1] == "lo" and at < int(value):
            return False
        if found[1] == "hi" and at > int(value):
            return False
        # A crossfade's silent end; what lies between is not used here.
        if found[1] == "xfin_hi" and at == 0 and int(value) > 0:
            return False
        if found[1] == "xfout_lo" and at == 127 and int(value) < 127:
            return False
    return True


class Turns:
    """Chooses regions for notes, each round robin in its own turn, or by `rng`."""

    def __init__(self, regions: tuple[Region, ...], rng: random.Random):
        self._regions = regions
        self._rng = rng
        self._count: dict[tuple[int, bool], int] = {}

    def choose(self, key: int, velocity: int, *, release: bool = False) -> list[Region]:
        """The regions that a note plays, or its end."""
        chance, turn = self._rng.random(), self._count.get((key, release), 0)
        self._count[key, release] = turn + 1
        return [
            region
            for region in self._regions
            if (region.trigger == "release") is release
            and region.plays(key, velocity, chance, turn)
        ]
