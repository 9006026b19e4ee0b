"""Names of stems by a template, which never lead out of the output folder."""

import pathlib

import hypothesis
import pytest
from hypothesis import strategies

from main import build_parser
from sswavenet.separation import naming
from util import UserError


def path_of(template, mixture="song", stem="vocals", extension="wav"):
    naming.check_template(template)
    return pathlib.PurePath(naming.stem_path(template, mixture, stem, extension))


@pytest.mark.parametrize(
    ("template", "mixture", "expected"),
    [
        ("{mixture}_{stem}", "song", "song_vocals.wav"),
        ("{mixture}/{stem}", "song", "song/vocals.wav"),
        ("{mixture}/{stem}", "album/song", "album/song/vocals.wav"),
        ("{stem}/{mixture}", "album/song", "album/vocals/song.wav"),
        ("{stem}", "song", "vocals.wav"),
        ("stems/{{{mixture}}} ({stem})", "song", "stems/{song} (vocals).wav"),
        ("{mixture}.{stem}", "v1.2", "v1.2.vocals.wav"),
        ("{mixture}_{stem}", "{stem}", "{stem}_vocals.wav"),
    ],
)
def test_paths_of_stems(template, mixture, expected):
    assert path_of(template, mixture) == pathlib.PurePath(expected)


def test_the_default_is_the_command_lines():
    assert build_parser().get_default("output_name") == naming.DEFAULT


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{mixture}", "expected {stem} in it"),
        ("{mixture}/{title}_{stem}", "got {title}"),
        ("{}{stem}", "got {}"),
        ("{0}{stem}", "got {0}"),
        ("{mixture.parent}/{stem}", "got {mixture.parent}"),
        ("{mixture[0]}{stem}", "got {mixture[0]}"),
        ("{stem!r}", "as they are"),
        ("{stem:>10000000}", "as they are"),
        ("{stem:{mixture}}", "as they are"),
        ("{stem", "pairs of braces"),
        ("stem}{stem}", "pairs of braces"),
        ("../{stem}", "within the output folder"),
        ("{mixture}/../{stem}", "within the output folder"),
        ("/tmp/{stem}", "within the output folder"),
        ("{stem}/", "within the output folder"),
    ],
)
def test_other_templates_are_refused(template, message):
    with pytest.raises(UserError) as caught:
        naming.check_template(template)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"--output_name {template!r}: ")


@pytest.mark.parametrize("template", ["{mixture}/{stem}", "{mixture}_{stem}"])
def test_a_mixture_called_like_the_folder_above_leads_nowhere(template):
    # As of a file "...wav".
    if template == "{mixture}_{stem}":
        assert path_of(template, "..") == pathlib.PurePath(".._vocals.wav")
    else:
        with pytest.raises(UserError, match="outside the output folder"):
            path_of(template, "..")


@hypothesis.given(
    template=strategies.lists(
        strategies.sampled_from(["{mixture}", "{stem}", "/", "..", ".", "a", "{", "\\"])
    ).map("".join),
    mixture=strategies.sampled_from(["song", "..", ".", "a/..", "../b", "/c"]),
)
def test_no_stem_lies_outside(template, mixture):
    try:
        path = path_of(template, pathlib.PurePath(mixture).name or "x")
    except UserError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert path.name.endswith(".wav")
