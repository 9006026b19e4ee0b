"""Tests of the sampler that plays recorded instruments in the corpus."""

from __future__ import annotations

import pathlib
import random
import sys

import numpy as np
import pytest
import soundfile

DATA = pathlib.Path(__file__).parents[1] / "data"
sys.path.insert(0, str(DATA))

pytest.importorskip("mido", reason="needs requirements-corpus.txt")
sampler = pytest.importorskip("corpus.sampler")
sfz = pytest.importorskip("corpus.sfz")
synth = pytest.importorskip("corpus.synth")

RATE = 16000
Note = synth.Note


def sine(hertz, seconds=2.0, rate=32000, gain=0.5):
    return gain * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


@pytest.fixture
def instrument(tmp_path):
    """An instrument in two layers with round robin, releases and a part included."""
    (tmp_path / "Samples").mkdir()
    for name, hertz in (
        ("soft", 440), ("loud_1", 880), ("loud_2", 1760), ("end", 3520), ("low", 220)
    ):  # fmt: skip
        # Named .wav in the text; encoded anew.
        soundfile.write(tmp_path / "Samples" / f"{name}.ogg", sine(hertz), 32000)
    (tmp_path / "part.sfz").write_text(
        "<group> lokey=$low hikey=59 pitch_keycenter=57\n<region>sample=low.wav\n"
    )
    (tmp_path / "main.sfz").write_text(
        "// a comment <region>\n"
        "<control> default_path=Samples/ set_cc7=100 set_cc20=127\n"
        "#define $low 40\n"
        "<global> ampeg_release=0.2 amp_veltrack=0\n"
        "<group> lokey=60 hikey=c6 pitch_keycenter=69\n"
        "<region>\nsample=soft.wav hivel=63\n"
        "<region>\nsample=loud_1.wav lovel=64 seq_length=2 seq_position=1\n"
        "<region>\nsample=loud_2.wav lovel=64 seq_length=2 seq_position=2\n"
        "<region>\nsample=loud_1.wav locc20=1 hicc20=100 // not where 20 stands\n"
        "<region>\nsample=end.wav trigger=release rt_decay=6\n"
        '#include "part.sfz"\n'
    )
    return tmp_path / "main.sfz"


def names(regions):
    return [region.path.stem for region in regions]


def play(notes, path, seconds=2.0, **options):
    return sampler.play(notes, path, random.Random(1), seconds, RATE, **options)


def pitch(waveform):
    """The loudest frequency, Hz."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return np.argmax(spectrum) * RATE / len(waveform)


def test_velocity_chooses_the_layer_and_round_robin_takes_turns(instrument):
    turns = sfz.Turns(sfz.load(instrument), random.Random(1))
    assert names(turns.choose(69, 40)) == ["soft"]
    turns = sfz.Turns(sfz.load(instrument), random.Random(1))
    played = [names(turns.choose(69, 100)) for _ in range(4)]
    assert played == [["loud_1"], ["loud_2"], ["loud_1"], ["loud_2"]]
    assert names(turns.choose(69, 100, release=True)) == ["end"]
    assert names(turns.choose(50, 100)) == ["low"]
    assert names(turns.choose(85, 100)) == []


def test_recordings_at_random_share_the_chance(tmp_path):
    text = "".join(
        f"<region> sample={k}.wav lorand={k / 4} hirand={(k + 1) / 4}\n"
        for k in range(4)
    )
    (tmp_path / "a.sfz").write_text(text)
    turns = sfz.Turns(sfz.load(tmp_path / "a.sfz"), random.Random(3))
    played = [names(turns.choose(60, 100)) for _ in range(400)]
    assert all(len(one) == 1 for one in played)
    for k in range(4):
        assert 70 < played.count([str(k)]) < 130


@pytest.mark.parametrize(("key", "hertz"), [(69, 440), (81, 880), (62, 293.66)])
def test_a_note_sounds_at_its_pitch(instrument, key, hertz):
    y = play([Note(0.0, 1.0, key, 40)], instrument)
    assert len(y) == 2 * RATE
    assert pitch(y[:RATE]) == pytest.approx(hertz, rel=0.005)


def test_a_note_begins_in_time_and_ends_with_its_release(instrument):
    path = instrument.with_name("one.sfz")
    path.write_text("<region> sample=Samples/soft.wav ampeg_release=0.2\n")
    y = play([Note(0.5, 0.5, 60, 127)], path)
    loud = np.abs(y) > 0.01
    assert np.flatnonzero(loud)[0] / RATE == pytest.approx(0.5, abs=0.002)
    assert 1.0 < np.flatnonzero(loud)[-1] / RATE < 1.2
    late = np.abs(y[int(1.1 * RATE) : int(1.15 * RATE)]).max()
    assert late < 0.5 * np.abs(y[int(0.9 * RATE) : RATE]).max()


def test_the_end_of_a_note_plays_its_release_softer_the_longer_it_lasted(instrument):
    def at_the_end(length):
        y = play([Note(0.0, length, 69, 40)], instrument, seconds=3.0)
        start = int((length + 0.3) * RATE)  # past the note's own release
        return np.abs(np.fft.rfft(y[start : start + 4000])).max()

    # 6 dB a second.
    ratio = 20 * np.log10(at_the_end(0.5) / at_the_end(1.5))
    assert ratio == pytest.approx(6, abs=0.5)


def test_a_note_silences_what_it_says(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(440), 32000)
    text = "<region> sample=a.wav loop_mode=one_shot group=1 off_by=1 pitch_keytrack=0"
    (tmp_path / "a.sfz").write_text(text + "\n")
    one = play([Note(0.0, 0.1, 60, 127)], tmp_path / "a.sfz", seconds=3)
    assert np.abs(one[RATE : RATE + 100]).max() > 0.1  # it rings on
    two = play(
        [Note(0.0, 0.1, 60, 127), Note(0.5, 0.1, 60, 127)], tmp_path / "a.sfz", 3
    )
    alone = play([Note(0.5, 0.1, 60, 127)], tmp_path / "a.sfz", seconds=3)
    np.testing.assert_allclose(two[int(0.6 * RATE) :], alone[int(0.6 * RATE) :])


def test_controllers_choose_and_tune(tmp_path):
    for name, hertz in (("a", 440), ("b", 660)):
        soundfile.write(tmp_path / f"{name}.wav", sine(hertz), 32000)
    (tmp_path / "a.sfz").write_text(
        "<control> set_cc1=0 set_cc2=127\n<global> tune=-1200 tune_oncc2=1200\n"
        "<region> sample=a.wav xfout_locc1=0 xfout_hicc1=127\n"
        "<region> sample=b.wav xfin_locc1=0 xfin_hicc1=127\n"
    )
    note = [Note(0.0, 1.0, 60, 100)]
    for controllers, hertz in (((), 440), (((1, 127),), 660), (((2, 0),), 220)):
        y = play(note, tmp_path / "a.sfz", controllers=controllers)
        assert pitch(y[:RATE]) == pytest.approx(hertz, rel=0.005)


def test_what_is_missing_is_one_line(tmp_path):
    (tmp_path / "a.sfz").write_text("<region> sample=gone.wav\n")
    with pytest.raises(sfz.UserError, match=r"gone\.wav"):
        play([Note(0.0, 1.0, 60, 100)], tmp_path / "a.sfz")
    with pytest.raises(sfz.UserError, match=r"b\.sfz"):
        sfz.load(tmp_path / "b.sfz")
    (tmp_path / "c.sfz").write_text('#include "c.sfz"\n')
    with pytest.raises(sfz.UserError, match="includes itself"):
        sfz.load(tmp_path / "c.sfz")


@pytest.mark.parametrize(
    ("opcodes", "velocity", "gain"),
    [
        ("", 127, 1.0),
        ("", 64, (64 / 127) ** 2),
        ("amp_veltrack=0", 64, 1.0),
        ("volume=-6", 127, 10 ** (-6 / 20)),
        ("amplitude=50", 127, 0.5),
        ("amp_velcurve_64=1", 64, 1.0),
        ("amp_velcurve_64=1", 48, 0.75),
    ],
)
def test_gain_follows_the_velocity_as_the_format_says(
    opcodes, velocity, gain, tmp_path
):
    (tmp_path / "a.sfz").write_text(f"<region> sample=a.wav {opcodes}\n")
    (region,) = sfz.load(tmp_path / "a.sfz")
    assert region.gain(velocity) == pytest.approx(gain)
