"""The short form: mixtures and the name of a session."""

import pathlib
import re

import pytest

from main import main
from sswavenet.config.tasks import TASKS
from tests.main.conftest import one_error
from tests.support import golden_checkpoint


@pytest.fixture
def album(song, tmp_path, monkeypatch):
    """Two songs in the folder `album` of the current one, a third beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album").mkdir()
    for name in ("album/one.wav", "album/two.wav", "three.wav"):
        (tmp_path / name).write_bytes(song.read_bytes())


def separated(session, *names):
    """The files of these mixtures' stems, and no others, are there."""
    stems = TASKS[session].stems
    folder = pathlib.Path("separated", session)
    found = sorted(path.name for path in folder.rglob("*") if path.is_file())
    return found == sorted(f"{name}_{stem}.wav" for name in names for stem in stems)


def test_a_name_of_a_file_is_enough(album, quick, capsys):
    assert main(["three.wav"]) == 0
    assert separated("multi-instrument", "three")
    out = capsys.readouterr().out
    assert out.startswith(f"stems in {pathlib.Path('separated').resolve()}")


def test_files_and_folders_stand_between_the_flags(album, quick):
    assert main(["three.wav", "--session", "singing-voice", "album"]) == 0
    assert separated("singing-voice", "one", "three", "two")


def test_behind_two_dashes_a_name_may_begin_with_one(album, quick):
    pathlib.Path("three.wav").rename("-three.wav")
    assert main(["--strict", "--", "-three.wav", "album"]) == 0
    assert separated("multi-instrument", "-three", "one", "two")


def test_a_mixture_that_is_named_twice_is_separated_once(album, quick, capsys):
    assert main(["album/two.wav", "./album", "album/two.wav"]) == 0
    assert separated("multi-instrument", "one", "two")
    assert "2 of 2 files" in capsys.readouterr().out


def test_two_folders_with_files_of_one_name_are_refused(album, quick, capsys):
    pathlib.Path("one.wav").write_bytes(pathlib.Path("three.wav").read_bytes())
    assert main(["album", "one.wav"]) == 2
    assert "would write the same stems" in one_error(capsys)
    assert not pathlib.Path("separated").exists()


def test_a_complement_of_one_with_the_name_of_a_stem_of_another_is_refused(
    album, quick, capsys
):
    pathlib.Path("album/one_no.wav").write_bytes(pathlib.Path("three.wav").read_bytes())
    assert main(["album", "--complement", "--overwrite"]) == 2
    assert "would write the same stems, one_no_" in one_error(capsys)
    assert main(["album"]) == 0
    assert separated("multi-instrument", "one", "one_no", "two")


def test_one_missing_mixture_among_several_is_named_before_the_work(
    album, quick, capsys
):
    assert main(["three.wav", "four.wav"]) == 2
    assert "four.wav: expected an audio file" in one_error(capsys)
    pathlib.Path("empty").mkdir()
    assert main(["three.wav", "empty"]) == 2
    assert "empty: expected at least one audio file" in one_error(capsys)
    assert not pathlib.Path("separated").exists()


@pytest.mark.parametrize("flag", ["--recursive", "--strict"])
def test_a_flag_without_a_value_may_stand_before_a_mixture(flag, album, quick):
    assert main([flag, "album"]) == 0
    assert separated("multi-instrument", "one", "two")


def test_a_second_run_keeps_or_replaces_what_is_there(album, quick, capsys):
    assert main(["three.wav"]) == 0
    assert main(["three.wav"]) == 2
    assert "--overwrite replaces" in one_error(capsys)
    assert main(["three.wav", "album", "--skip_existing"]) == 0
    assert "1 skipped" in capsys.readouterr().out
    assert separated("multi-instrument", "one", "three", "two")


def test_stems_of_another_session_are_not_taken_for_mixtures(album, quick):
    assert main([".", "--recursive", "--session=singing-voice"]) == 0
    assert main([".", "--recursive"]) == 0
    assert separated("multi-instrument", "one", "song", "three", "two")


@pytest.mark.parametrize("file", ["", "config.json"])
def test_a_session_is_named_by_its_folder_or_its_config(
    file, album, session, quick, capsys
):
    assert main(["three.wav", f"--session={session / file}"]) == 0
    folder = pathlib.Path("separated", session.name)
    assert len(list(folder.iterdir())) == 4
    assert golden_checkpoint("multi-instrument").name in capsys.readouterr().err
    assert not (session / "samples").exists()


def test_an_unknown_session_is_refused(album, capsys):
    assert main(["three.wav", "--session", "piano"]) == 2
    # Beside others, where make train-demo has made one.
    line = one_error(capsys)
    assert re.search(r": expected (\S+, )*multi-instrument, .*got 'piano'", line)


def test_with_config_stems_go_to_the_session_in_the_short_form_too(
    album, session, quick
):
    assert main(["three.wav", f"--config={session / 'config.json'}"]) == 0
    assert len(list((session / "samples" / "samples_1").iterdir())) == 4
    assert not pathlib.Path("separated").exists()


def test_a_session_has_a_name_for_the_other_flags_of_inference_too(album, quick):
    arguments = ["--mode=inference", "--mixture_input_path=three.wav"]
    assert main([*arguments, "--session=singing-voice", "--output_path=out"]) == 0
    assert len(list(pathlib.Path("out").iterdir())) == 2
    assert main([*arguments, "--session=singing-voice"]) == 0
    assert separated("singing-voice", "three")
