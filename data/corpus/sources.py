"""What the procedural corpus is made from, and which part of it belongs to which split.

Everything comes from Debian packages (`corpus-packages.txt`). The tables below are
explicit where the split is by hand (banks, kits, loops, kept-out tracks; speakers
are in `corpus.speakers`)
and hashed by name where there are many (grooves by library file, scores, tracks), so
that a source lands on the same side on every machine. `CORPUS.md` names licences.
"""

from __future__ import annotations

import functools
import pathlib
import re
import shutil
import struct
import zlib

from util import UserError

SPLITS = ("train", "validation", "test", "real")
STEMS = ("vocals", "drums", "bass", "other")
RATE = 16000  # Hz, of a song, and of all voices
STEREO_RATE = 44100  # Hz, of a stereo song
RECORD = "song.json"  # beside the waveforms of a song

SHARE = pathlib.Path("/usr/share")
GROOVE_LIBRARY = SHARE / "mma/lib/stdlib"
JINGLE = "D_INTROA"  # 10 s; the next shortest song of freedoom lasts over 30 s
WADS = (SHARE / "games/doom/freedoom1.wad", SHARE / "games/doom/freedoom2.wad")
KIT_FOLDER = SHARE / "hydrogen/data/drumkits"
SONIC_PI = SHARE / "sonic-pi/samples"


class MissingPackageError(UserError):
    """A package that the corpus needs, of Debian or Python, is not installed."""

    def __str__(self) -> str:
        """The one line that names what is missing and how to get it."""
        return (
            f"the corpus needs {self.args[0]}, which is not installed: run `make "
            "corpus-packages` (or install what data/corpus-packages.txt and "
            "requirements-corpus.txt list)"
        )


# Sound banks: file below /usr/share/sounds -> held out. MuseScore's bank shares
# recordings with FluidR3, the two Black Pearl kits may share a drum set.
BANKS = {
    "sf2/FluidR3_GM.sf2": False,
    "sf2/MuseScore_General_Full.sf2": False,  # uncompressed: loads at once
    "sf2/OPL-3_FM_128M.sf2": False,
    "sf2/sf_GMbank.sf2": True,
    "sf2/TimGM6mb.sf2": True,
}
DRUM_BANKS = {"sf2/Black_Pearl_4_LV2.sf2": False, "sf2/Red_Zeppelin_4_LV2.sf2": True}
# Sampled kits: folder -> held out.
KITS = {
    "BJA_Pacific": False,
    "ColomboAcousticDrumkit": True,
    "ElectricEmpireKit": False,
    "ForzeeStereo": False,
    "HardElectro1": False,
    "Millo-Drums_v.1": False,
    "Millo_MultiLayered2": False,
    "Millo_MultiLayered3": False,
    "The Black Pearl 1.0": False,
    "VariBreaks": True,
    "samples": False,  # sonic-pi's single hits
}
# Recorded drum loops of sonic-pi-samples: name -> held out.
LOOPS = {
    "loop_amen": False,
    "loop_amen_full": False,
    "loop_breakbeat": True,
    "loop_compus": False,
    "loop_industrial": False,
    "loop_mika": False,
    "loop_mehackit1": False,
    "loop_mehackit2": False,
    "loop_perc1": False,
    "loop_perc2": False,
    "loop_safari": False,
    "loop_tabla": True,
}
HIT_PATTERNS = (
    ("kick", r"kick|^bd|_bd_|bass.?drum|drum_bass|kik|_k_\d"),
    ("snare", r"^sn|sn_|snare|^sd_|^sr_|clap|rim|stick"),
    ("hat", r"hat|hh"),
    ("crash", r"crash|cym|splash|china|^cc_|cra_"),
    ("ride", r"ride|^rd|^rc_"),
    ("tom", r"tom|^tm|^ft_|^t\d_|conga|vp drum|ee_drum"),
)

FRETS = "games/fretsonfire/data/songs"
MUSIC = (
    "games/wesnoth/1.16/data/core/music/*.ogg",
    "games/warzone2100/music/**/*.opus",
    "games/singularity/music/**/*.ogg",
    "hyperrogue/music/*.ogg",
    f"{FRETS}/sectoid/*/song.ogg",  # in Muldjord's songs someone shouts
)
# Frets on Fire has the guitar apart: those of songs that are not kept out.
GUITARS = (
    "muldjord/chaos_god",
    "muldjord/internal_degeneration",
    "muldjord/mutilated_mime",
    "sectoid/Escape from chaosland",
    "sectoid/Metal madness",
)
# A choir sings in the first two, the third is silence, the others seem to hold speech.
NOT_INSTRUMENTAL = (
    "nunc_dimittis",
    "battle-epic",
    "silence",
    "menu_enhanced",
    "track14",
    "track25",
)
# Kept out of all training, for the split "real".
REAL_TRACKS = ("Feelings", "War of freedom", "knalgan_theme", "Orbital Elevator")


def split_of(name: str) -> str:
    """The split of a score or track by its name, the same one everywhere.

    One name in six is held out of training, and one in three of those validates.
    """
    value, others = divmod(zlib.crc32(name.encode()), 6)
    if others:
        return "train"
    return "test" if value % 3 else "validation"


@functools.cache
def grooves(split: str) -> tuple[str, ...]:
    """Names of mma's grooves of one split.

    The split is by library file, because the grooves of one file share patterns.
    """
    found = set()
    for path in sorted(GROOVE_LIBRARY.glob("*.mma")):
        if split_of(path.stem) == split:
            text = path.read_text(errors="replace")
            found |= set(re.findall(r"^ *DefGroove +(\S+)", text, re.M))
    unwanted = re.compile("intro|end|fill|metronome|none", re.I)
    if not found:
        raise MissingPackageError(f"{GROOVE_LIBRARY} (mma)")
    return tuple(sorted(name for name in found if not unwanted.search(name)))


@functools.cache
def doom_lumps() -> dict[str, bytes]:
    """The songs among the MIDI lumps of the freedoom WADs by name, without repeats.

    Reference: the WAD directory is a count and an offset, then 16 bytes a lump.
    """
    names: dict[bytes, str] = {}
    for wad in WADS:
        if not wad.exists():
            raise MissingPackageError(f"{wad} (freedoom)")
        data = wad.read_bytes()
        count, table = struct.unpack("<II", data[4:12])
        for entry in range(table, table + 16 * count, 16):
            at, size, name = struct.unpack("<II8s", data[entry : entry + 16])
            lump = data[at : at + size]
            if lump[:4] == b"MThd":
                names.setdefault(lump, name.strip(b"\0").decode())
    return {name: lump for lump, name in names.items() if name != JINGLE}


@functools.cache
def kit(name: str) -> dict[str, tuple[pathlib.Path, ...]]:
    """The recorded hits of a kit, by kind (kick, snare, hat, ...)."""
    folder = SONIC_PI if name == "samples" else KIT_FOLDER / name
    kinds: dict[str, list[pathlib.Path]] = {}
    for path in sorted(folder.glob("*")):
        stem = path.stem.lower()
        if path.suffix not in (".wav", ".flac", ".aiff"):
            continue
        if name == "samples" and not re.match("bd_|sn_|hat_|drum_", stem):
            continue
        for kind, pattern in HIT_PATTERNS:
            if re.search(pattern, stem):
                kinds.setdefault(kind, []).append(path)
                break
    if name == "samples" and kinds:  # it has no hat of its own: the closed cymbals
        closed = [
            path for path in kinds["crash"] if re.search("closed|pedal", path.stem)
        ]
        kinds["hat"] = closed
    if not {"kick", "snare", "hat"} <= set(kinds):
        raise MissingPackageError(f"{folder} (hydrogen-drumkits, sonic-pi-samples)")
    return {kind: tuple(paths) for kind, paths in kinds.items()}


@functools.cache
def music_tracks(split: str) -> tuple[pathlib.Path, ...]:
    """Produced instrumental tracks of a split."""
    tracks = []
    for pattern in MUSIC:
        paths = sorted(SHARE.glob(pattern))
        if not paths:
            raise MissingPackageError(f"music in {SHARE / pattern}")
        for path in paths:
            name = track_name(path)
            where = "real" if name in REAL_TRACKS else split_of(name)
            if where == split and name not in NOT_INSTRUMENTAL:
                tracks.append(path)
    return tuple(tracks)


def track_name(path: pathlib.Path) -> str:
    """Names a track: its file, or its folder for a Frets on Fire song."""
    return path.parent.name if path.stem == "song" else path.stem


def bank_path(name: str) -> str:
    """Where a sound bank is installed."""
    path = SHARE / "sounds" / name
    if not path.exists():
        raise MissingPackageError(path)
    return str(path)


def need_program(name: str) -> str:
    """Finds a program that a Debian package brings."""
    found = shutil.which(name)
    if not found:
        raise MissingPackageError(f"the program {name}")
    return found
