"""Configurations that cannot be used, and odd ones that can."""

import json
import os

import hypothesis
import pytest
from hypothesis import strategies

import main as program
from sswavenet.config.document import parse_config
from sswavenet.separation.framing import Framing
from tests.support import make_tone, tiny_document
from util import UserError


def set_key(document, name, value):
    *sections, last = name.split(".")
    for section in sections:
        document = document[section]
    document[last] = value


CONFIGS = {
    "not JSON": ("{", "expected JSON"),
    "nested deeply": ("[" * 100000, "nested too deeply"),
    "no object": ("[]", "expected a JSON object"),
    "a wrong type": (("training.batch_size", "2"), "training.batch_size must be"),
    "a negative number": (("training.batch_size", -2), "training.batch_size must be"),
    "zero": (("model.num_stacks", 0), "model.num_stacks must be"),
    "a huge number": (("model.num_stacks", 10**400), "model.num_stacks must be"),
    "NaN": (("optimizer.lr", float("nan")), "optimizer.lr must be"),
    "an unknown key": (("training.batchsize", 2), "'training.batch_size'"),
    "a key of a million letters": (("training." + "x" * 10**6, 1), "unknown key"),
    "a path that is no text": (("training.path", "\ud800"), "training.path must be"),
    "derived keys that disagree": (("model.input_length", 5), "the other keys give"),
    "a million channels": (
        ("model.filters.depths.res", 10**6),
        "MiB of memory, but",
    ),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_config_that_cannot_be_used_takes_one_line(
    what, infer, session, folder, tmp_path
):
    change, message = CONFIGS[what]
    make_tone(folder / "song.wav")
    document = tiny_document()
    if isinstance(change, tuple):
        set_key(document, *change)
        change = json.dumps(document)
    (session / "config.json").write_text(change)
    status, (line,) = infer(folder)
    assert status == 2
    assert message in line
    assert len(line) < 500
    assert not (tmp_path / "out").exists()


def test_a_config_of_100_mb_is_not_read(infer, session, folder):
    make_tone(folder / "song.wav")
    os.truncate(session / "config.json", 100 * 2**20)
    status, (line,) = infer(folder)
    assert status == 2
    assert "at most" in line


def test_a_missing_key_is_named(infer, session, folder):
    make_tone(folder / "song.wav")
    document = tiny_document()
    del document["model"]["dilations"]
    (session / "config.json").write_text(json.dumps(document))
    status, (line,) = infer(folder)
    assert (status, "key model.dilations is missing" in line) == (2, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("model.target_field_length", 20), ("model.dilations", 2)],
)
def test_an_even_field_and_dilations_as_a_number_work(
    name, value, infer, session, folder
):
    make_tone(folder / "song.wav", 300)
    document = tiny_document()
    set_key(document, name, value)
    (session / "config.json").write_text(json.dumps(document))
    assert infer(folder, "--original_framing") == (0, [])


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_a_million_channels_are_refused_in_every_mode(mode, session, tmp_path, capsys):
    document = tiny_document(training={"path": str(tmp_path / "new")})
    set_key(document, "model.filters.depths.res", 10**6)
    (session / "config.json").write_text(json.dumps(document))
    status = program.main([f"--mode={mode}", f"--config={session / 'config.json'}"])
    assert status == 2
    said = capsys.readouterr().err
    assert "MiB of memory, but" in said
    assert "Traceback" not in said
    assert not (tmp_path / "new").exists()


@hypothesis.given(
    strategies.recursive(
        strategies.none()
        | strategies.booleans()
        | strategies.integers()
        | strategies.floats()
        | strategies.text(),
        lambda inner: (
            strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner)
        ),
        max_leaves=8,
    ),
    strategies.integers(0, 10**6),
)
def test_any_value_anywhere_in_a_config_is_taken_or_refused(value, place):
    document = tiny_document()
    leaves = [(section, name) for section, keys in document.items() for name in keys]
    section, name = leaves[place % len(leaves)]
    document[section][name] = value
    try:
        config = parse_config(document)
    except UserError as error:
        said = str(error)
    else:
        said = ""
        assert config.num_params > 0
        assert Framing.seamless(config, 5).input_length > 5
    assert "\n" not in said
    assert len(said) < 500
