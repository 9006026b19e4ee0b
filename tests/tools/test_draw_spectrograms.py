"""The tool that draws stems beside their references."""

from __future__ import annotations

import os

import draw_spectrograms
import numpy as np
import pytest
import soundfile

from tests.tools.conftest import said


def drawn(out, arguments):
    return draw_spectrograms.main(list(map(str, [out, *arguments])))


@pytest.mark.slow
def test_spectrograms_stand_beside_their_references_in_the_order_of_the_stems(rng):
    mixture, *stems = rng.normal(size=(5, 4000))
    pairs = dict.fromkeys(("vocals", "bass"), (stems[0], stems[1]))
    *axes, bar = draw_spectrograms.draw(mixture, pairs, "samba").axes
    assert [axis.get_title() for axis in axes] == [
        "samba: the mixture",
        "vocals, separated",
        "vocals, reference",
        "bass, separated",
        "bass, reference",
    ]
    assert {axis.get_ylabel() for axis in axes} <= {"frequency in Hz", ""}
    assert axes[-1].get_xlabel() == "time in s"
    assert bar.get_ylabel() == "level in dB"


def test_stems_to_draw_are_in_the_order_of_a_session(separated):
    mixture, estimates, _ = separated
    found = draw_spectrograms.find_estimates(estimates, mixture.stem)
    assert list(found) == ["vocals", "drums", "bass", "other"]


@pytest.mark.slow
def test_spectrograms_are_written(separated, tmp_path):
    out = tmp_path / "out.png"
    assert drawn(out, separated) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0), "no samples"),
        (np.zeros(1000), "at least 1024 samples at 16000 Hz, got 1000"),
        (np.zeros(4000), "expected some sound"),
        (np.full(4000, np.nan), "expected finite samples"),
    ],
)
def test_what_has_no_sound_is_not_drawn(samples, message, separated, tmp_path, capsys):
    _, estimates, _ = separated
    out = tmp_path / "out.png"
    soundfile.write(estimates / "it_bass.wav", samples, 16000, subtype="FLOAT")
    assert drawn(out, separated) == 2
    assert message in said(capsys)
    assert not out.exists()


def test_nothing_to_draw_is_one_line(separated, tmp_path, capsys):
    mixture, _, references = separated
    for folder in (tmp_path / "absent", tmp_path):
        assert drawn(tmp_path / "out.png", [mixture, folder, references]) == 2
        assert f"{folder}: expected stems of it" in said(capsys)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("vocals.wav", "name in .png"),
        ("a.png/b.png", "folder that can be written"),
        ("a.png", "is an input and would be overwritten"),
    ],
)
def test_a_place_for_no_picture_is_refused(out, message, separated, tmp_path, capsys):
    mixture, estimates, references = separated
    picture = mixture.with_name("a.png")  # of that name, but sound
    mixture.rename(picture)
    (estimates / "it_vocals.wav").rename(estimates / "a_vocals.wav")
    before = picture.read_bytes()
    assert drawn(tmp_path / out, [picture, estimates, references]) == 2
    assert message in said(capsys)
    assert picture.read_bytes() == before


def test_any_name_can_be_drawn(separated, tmp_path, capfd):
    name = "we$ird_{$ 日本 " + os.fsdecode(b"\xff")
    mixture, *folders = separated
    for folder in folders:
        for path in folder.iterdir():
            path.rename(folder / path.name.replace("it_", f"{name}_"))
    out = tmp_path / "out.png"
    assert drawn(out, [mixture.rename(tmp_path / f"{name}.flac"), *folders]) == 0
    assert out.exists()
    assert capfd.readouterr().err == ""
