"""Which files are read and where stems go."""

import os
import pathlib
import stat

import numpy as np
import pytest
import soundfile

from sswavenet.separation import outputs
from sswavenet.separation.inputs import find_mixtures
from tests.separation.conftest import halving, names, run
from util import UserError


def test_a_folder_is_read_in_order_without_its_folders_and_hidden_files(
    folder, tmp_path
):
    (folder / "sub").mkdir()
    for name in ("b.WAV", "a.flac", "sub/c.wav", ".hidden.wav", "notes.txt"):
        (folder / name).write_text("")
    found = find_mixtures(folder).mixtures
    assert [mixture.path.name for mixture in found] == ["a.flac", "b.WAV"]


def test_recursive_keeps_the_folders(folder, tmp_path, config):
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("a.wav", "sub/a.wav", "sub/deep/b.flac", ".git/c.wav"):
        soundfile.write(folder / name, np.ones(10) / 2, 16000)
    (folder / "sub" / "loop").symlink_to(folder)
    summary = run(folder, config, tmp_path, recursive=True, stems=("bass",))
    assert summary.num_separated == 3
    assert names(tmp_path / "out") == [
        "a_bass.wav",
        "sub/a_bass.wav",
        "sub/deep/b_bass.wav",
    ]


@pytest.mark.parametrize(
    "name", ["song.wav", "a b 'c' \"d\".flac", "sønġ.x.wav", "-x.wav"]
)
def test_a_single_file_may_have_any_name(name, folder, tmp_path, config):
    soundfile.write(folder / name, np.ones(10) / 2, 16000)
    run(folder / name, config, tmp_path, stems=("bass",))
    assert names(tmp_path / "out") == [f"{pathlib.Path(name).stem}_bass.wav"]


def test_a_bare_file_name_works(folder, tmp_path, config, monkeypatch):
    monkeypatch.chdir(folder)
    soundfile.write("song.wav", np.ones(10) / 2, 16000)
    run("song.wav", config, tmp_path, stems=("bass",))
    assert names(tmp_path / "out") == ["song_bass.wav"]


def test_two_mixtures_of_one_name_are_refused(folder, tmp_path, config):
    for name in ("a.wav", "a.flac"):
        soundfile.write(folder / name, np.ones(10) / 2, 16000)
    with pytest.raises(UserError, match=r"a\.flac and .*a\.wav would write the same"):
        run(folder, config, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_stem_never_overwrites_a_mixture(folder, tmp_path, config):
    for name in ("a.wav", "a_vocals.wav"):
        soundfile.write(folder / name, np.ones(10) / 2, 16000)
    before = (folder / "a_vocals.wav").read_bytes()
    with pytest.raises(UserError, match="would be overwritten"):
        run(folder, config, tmp_path, output_path=folder)
    assert (folder / "a_vocals.wav").read_bytes() == before
    assert names(folder) == ["a.wav", "a_vocals.wav"]


def test_missing_and_empty_inputs_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="found nothing"):
        find_mixtures(folder / "missing")
    (folder / "notes.txt").write_text("")
    with pytest.raises(UserError, match="at least one audio file"):
        find_mixtures(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_refused(folder):
    (folder / "closed").mkdir(mode=stat.S_IWUSR)
    with pytest.raises(UserError, match="cannot list"):
        find_mixtures(folder, recursive=True)


def test_a_stem_that_appears_during_the_run_is_not_replaced(
    folder, tmp_path, config, caplog
):
    for name in ("a", "b"):
        soundfile.write(folder / f"{name}.wav", np.ones(10) / 2, 16000)
    build = halving(config)

    def busy(**shape):
        predict = build(**shape)

        def wrapped(fragments):
            for name in ("a_drums.wav", "b_vocals.wav"):  # of this one and the next
                (tmp_path / "out" / name).write_text("mine")
            return predict(fragments)

        return wrapped

    assert run(folder, config, tmp_path, busy).num_separated == 0
    assert names(tmp_path / "out") == ["a_drums.wav", "b_vocals.wav"]
    assert (tmp_path / "out" / "b_vocals.wav").read_text() == "mine"
    for name in names(tmp_path / "out"):
        assert f"{name}: something else has got this name meanwhile" in caplog.text


def test_stems_that_cannot_all_be_replaced_stay_old(
    folder, tmp_path, config, caplog, monkeypatch
):
    soundfile.write(folder / "a.wav", np.ones(10) / 2, 16000)
    run(folder, config, tmp_path)
    out = tmp_path / "out"
    before = {name: (out / name).read_bytes() for name in names(out)}
    replace = pathlib.Path.replace

    def fail(self, target):
        if target.name == "a_drums.wav" and self.name.startswith("new"):
            raise PermissionError(1, "Operation not permitted")
        return replace(self, target)

    monkeypatch.setattr(pathlib.Path, "replace", fail)
    summary = run(
        folder, config, tmp_path, halving(config, (0.1, 0.2, 0.3)), overwrite=True
    )
    assert summary.num_separated == 0
    (line,) = [record.getMessage() for record in caplog.records if record.levelno > 30]
    stem = out / "a_drums.wav"
    assert line == f"{folder / 'a.wav'}: cannot write {stem}: Operation not permitted"
    assert before == {name: (out / name).read_bytes() for name in names(out)}


def test_each_run_makes_its_own_folder(folder, tmp_path, config):
    soundfile.write(folder / "a.wav", np.ones(10) / 2, 16000)
    samples = tmp_path / "session" / "samples"
    (samples / "samples_7").mkdir(parents=True)
    (samples / "samples_x").mkdir()
    folders = [
        run(folder, config, tmp_path, output_path=None).folder.name for _ in range(2)
    ]
    assert folders == ["samples_8", "samples_9"]
    assert len(names(samples / "samples_9")) == 4


def test_two_runs_at_once_never_take_one_folder(tmp_path, monkeypatch):
    mkdir, raced = pathlib.Path.mkdir, []

    def racing(self, *args, **kwargs):
        if self.name == "samples_1" and not raced:
            raced.append(self)
            mkdir(self)  # the other run is quicker
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(pathlib.Path, "mkdir", racing)
    assert outputs.new_samples_folder(tmp_path).name == "samples_2"


def test_a_run_without_a_stem_leaves_no_folder(folder, tmp_path, config):
    (folder / "a.wav").write_text("not audio")
    run(folder, config, tmp_path, output_path=None)
    assert list((tmp_path / "session" / "samples").iterdir()) == []


def test_an_output_folder_that_cannot_be_made_is_refused(folder, tmp_path, config):
    soundfile.write(folder / "a.wav", np.ones(10) / 2, 16000)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        run(folder, config, tmp_path, output_path=tmp_path / "file" / "out")
