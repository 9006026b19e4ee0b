"""Every key of a config: its values, and every error."""

import copy
import dataclasses
import json
import math

import pytest

from sswavenet.config.document import parse_config, to_document
from sswavenet.config.keys import REQUIRED
from sswavenet.config.session import DERIVED, KEYS, Config
from sswavenet.config.tasks import TASKS, OutputLoss
from tests.support import TASK_NAMES, tiny_config, tiny_document
from util import UserError

NAN, INFINITY = math.nan, math.inf

NOT_COUNTS = (0, -1, 1.5, "1", True, None, [1], 10**10, NAN, INFINITY)
NOT_SHARES = (-0.01, 1.01, "0.5", True, None, [0.5], NAN)
NOT_PATHS = ("", "  ", 3, None, ["a"], "a\0b", "a\ud800b")
TERMS = {"weight": 1, "l1": 1, "l2": 0}


def two_losses(**changes):
    return {"out_1": {**TERMS, **changes}, "out_2": TERMS}


# Of each key that is read: a value, what becomes of it, and values that are refused.
VALUES = {
    "dataset.path": (
        {"some/where": 2, "else/where": 0.5},
        (("else/where", 0.5), ("some/where", 2)),
        [*NOT_PATHS, {}, {"": 1}, {"a": 0}, {"a": -1}, {"a": "1"}, {"a": True}, ["a"]],
    ),
    "dataset.type": ("musdb18", "musdb18", ("MUSDB18", "dsd100", 18, None, [])),
    "dataset.sample_rate": (44100, 44100, (99, 768001, 16000.5, "16000", True, None)),
    "dataset.extract_voice_percentage": (0.5, 0.5, NOT_SHARES),
    "dataset.in_memory_percentage": (0, 0.0, NOT_SHARES),
    "dataset.augmentation.mix": (1, 1.0, NOT_SHARES),
    "dataset.augmentation.gain_db": (6.5, 6.5, (-1, 61, "6", True, None, NAN)),
    "dataset.augmentation.polarity": (0.25, 0.25, NOT_SHARES),
    "dataset.augmentation.resample": (0.5, 0.5, (-0.1, 0.51, "0.1", True, None)),
    "dataset.augmentation.tilt": (0.9, 0.9, (-0.1, 0.91, "0.1", True, None)),
    "dataset.augmentation.level_db": (6, 6.0, (-1, 61, "6", True, None)),
    "model.type": ("singing-voice", "singing-voice", ("vocals", 1, [], {"a": 1})),
    "model.dilations": (
        3,
        (1, 2, 4, 8),
        (-1, 21, "9", True, None, [], [0], [1, 2.5], [1, "2"], [1] * 65),
    ),
    "model.num_stacks": (4.0, 4, (*NOT_COUNTS, 1001)),
    "model.filters.depths.res": (64, 64, NOT_COUNTS),
    "model.filters.depths.skip": (32, 32, NOT_COUNTS),
    "model.filters.depths.final": (
        [2048, 256],
        (2048, 256),
        (2048, [2048], [1, 2, 3], [0, 1], ["1", 1], None),
    ),
    "model.filters.lengths.res": (5, 5, (2, 0, -3, 3.5, "3", True, None, 1001)),
    "model.filters.lengths.final": ([1, 5], (1, 5), (3, [3], [3, 2], [3, 3, 3], None)),
    "model.target_field_length": (1601, 1601, NOT_COUNTS),
    "model.target_padding": (0, 0, (-1, 0.5, "1", True, None)),
    "optimizer.type": ("adam", "adam", ("Adam", "sgd", None, 1)),
    "optimizer.lr": (1, 1.0, (0, -1, "1", True, None, NAN, INFINITY, 10**400)),
    "optimizer.decay": (0.1, 0.1, (-0.1, "0", True, None, NAN)),
    "optimizer.epsilon": (1e-3, 1e-3, (0, -1e-8, "1e-8", True, None)),
    "optimizer.cooldown": (0.2, 0.2, NOT_SHARES),
    "training.path": ("sessions/007", "sessions/007", NOT_PATHS),
    "training.batch_size": (10, 10, NOT_COUNTS),
    "training.loss": (
        two_losses(weight=-0.05, l2=0.5),
        (OutputLoss(-0.05, 1, 0.5), OutputLoss(1, 1, 0)),
        (
            None,
            5,
            [],
            {},
            "out_1",
            {"out_2": TERMS},
            {"out_1": TERMS, "vocals": TERMS},
            {"out_1": 1, "out_2": TERMS},
            {"out_1": {"weight": 1, "l1": 1}, "out_2": TERMS},
            two_losses(l3=1),
            two_losses(l1=-1),
            two_losses(l2=-1),
            two_losses(weight="1"),
            two_losses(weight=NAN),
        ),
    ),
    "training.num_epochs": (250, 250, NOT_COUNTS),
    "training.num_steps_train": (2000, 2000, NOT_COUNTS),
    "training.num_steps_test": (500, 500, NOT_COUNTS),
    "training.early_stopping_patience": (3, 3, NOT_COUNTS),
    "training.early_stopping_monitor": ("val_loss", "val_loss", ("accuracy", 1, None)),
    "training.keep_checkpoints": (5, 5, (-1, 0.5, "1", True, None)),
    "training.tensorboard": (True, True, ("true", 2, None, [])),
    "training.seed": (2**32 - 1, 2**32 - 1, (-1, 2**32, 0.5, "1", True, None)),
    "training.verbosity": (2, 2, (3, -1, "1", None, [])),
}
READ = [name for name, key in KEYS.items() if key.field is not None]
UNUSED = [name for name, key in KEYS.items() if key.field is None]


def with_value(document, name, value):
    """A copy of a document with the key of a dotted name set."""
    document = copy.deepcopy(document)
    *sections, last = name.split(".")
    place = document
    for section in sections:
        place = place.setdefault(section, {})
    place[last] = value
    return document


def without(document, name):
    """A copy of a document without the key of a dotted name."""
    document = copy.deepcopy(document)
    *sections, last = name.split(".")
    place = document
    for section in sections:
        place = place[section]
    del place[last]
    return document


def test_every_key_that_is_read_has_values_here():
    assert set(VALUES) == set(READ)
    assert sorted(UNUSED) == [
        "model.condition_encoding",
        "model.filters.lengths.skip",
        "optimizer.momentum",
    ]


def test_every_field_has_a_key():
    fields = [field.name for field in dataclasses.fields(Config)]
    assert sorted(fields) == sorted(KEYS[name].field for name in READ)


@pytest.mark.parametrize("name", READ)
def test_a_value_fills_its_field(name):
    value, expected, _ = VALUES[name]
    document = with_value(tiny_document("singing-voice"), name, value)
    config = parse_config(document)
    got = getattr(config, KEYS[name].field)
    assert got == expected
    assert type(got) is type(expected)


def test_whole_numbers_are_as_good_as_others():
    """Keras takes 1.0 for a learning rate, and not 1."""
    fields = dataclasses.fields(Config)
    names = [field.name for field in fields if field.type == "float"]
    document = tiny_document(optimizer={"lr": 1, "decay": 0, "epsilon": 1})
    for config in (parse_config(document), tiny_config().replace(learning_rate=2)):
        given = [getattr(config, name) for name in names]
        for loss in config.losses:
            given += dataclasses.astuple(loss)
        assert {type(value) for value in given} == {float}
    assert "learning_rate" in names


def test_a_path_may_begin_with_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tiny_config(dataset={"path": "~/music"}, training={"path": "~/s"})
    assert config.dataset_path == f"{tmp_path}/music"
    assert config.session_path == f"{tmp_path}/s"
    assert tiny_config(training={"path": "a/~"}).session_path == "a/~"
    assert tiny_config(training={"path": "~nobody-at-all/s"}).session_path == (
        "~nobody-at-all/s"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in READ for value in VALUES[name][2]],
    ids=lambda item: repr(item)[:40],
)
def test_a_wrong_value_is_refused_in_one_line(name, value):
    document = with_value(tiny_document("singing-voice"), name, value)
    with pytest.raises(UserError) as caught:
        parse_config(document, "here.json")
    message = str(caught.value)
    assert message.startswith(f"here.json: {name} must be {KEYS[name].expected}, got ")
    assert repr(value)[:60] in message
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("name", UNUSED)
@pytest.mark.parametrize("value", [None, 5, "x", [1], {"a": {"b": 1}}])
def test_an_unused_key_takes_anything_and_changes_nothing(name, value):
    document = tiny_document()
    assert parse_config(with_value(document, name, value)) == parse_config(document)


@pytest.mark.parametrize("name", READ)
def test_a_missing_key_takes_its_default_or_is_named(name):
    document, key = tiny_document(), KEYS[name]
    if key.default is not REQUIRED:
        document = with_value(document, name, VALUES[name][0])
    document = without(document, name)
    if key.default is REQUIRED and name != "model.type":
        with pytest.raises(UserError, match=f"key {name} is missing; expected ") as it:
            parse_config(document)
        assert key.expected in str(it.value)
        return
    expected = "multi-instrument" if name == "model.type" else key.default
    assert getattr(parse_config(document), key.field) == expected


def test_defaults_are_those_of_2018():
    defaults = {name: key.default for name, key in KEYS.items()}
    assert defaults["optimizer.epsilon"] == 1e-8
    assert defaults["training.early_stopping_patience"] == 16
    assert defaults["training.early_stopping_monitor"] == "loss"
    assert [defaults[name] for name in KEYS if "augmentation" in name] == [0] * 6


@pytest.mark.parametrize("document", [None, [], "model", 3, [{"model": {}}]])
def test_a_document_that_is_no_object_is_refused(document):
    with pytest.raises(UserError, match="here: expected a JSON object with the secti"):
        parse_config(document, "here")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("training.batchsize", "training.batch_size"),
        ("dataset.samplerate", "dataset.sample_rate"),
        ("model.filters.depths.residual", "model.filters.depths.res"),
        ("model.inputlength", "model.input_length"),
        ("dataset.augmentation.gain", "dataset.augmentation.gain_db"),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_named(name, nearest):
    with pytest.raises(UserError) as caught:
        parse_config(with_value(tiny_document(), name, 1), "here.json")
    assert str(caught.value) == (
        f"here.json: unknown key {name!r}; the nearest known key is {nearest!r}"
    )


@pytest.mark.parametrize("section", ["dataset", "model", "optimizer", "training"])
@pytest.mark.parametrize("value", [None, [], 3])
def test_a_section_that_is_no_object_is_refused(section, value):
    with pytest.raises(UserError, match=section) as caught:
        parse_config(with_value(tiny_document(), section, value))
    assert "\n" not in str(caught.value)


def test_long_values_are_shortened_in_messages():
    with pytest.raises(UserError) as caught:
        parse_config(with_value(tiny_document(), "dataset.type", "x" * 10**6))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_target_fills_in_the_type(task_name):
    document = without(tiny_document(task_name), "model.type")
    assert parse_config(document, task_name=task_name).task_name == task_name
    document["model"]["type"] = None
    assert parse_config(document, task_name=task_name).task_name == task_name


def test_target_must_agree_with_the_type():
    document = tiny_document("singing-voice")
    assert (
        parse_config(document, task_name="singing-voice").task is TASKS["singing-voice"]
    )
    expected = "model.type is 'singing-voice', but --target asks for 'multi-instrument'"
    with pytest.raises(UserError, match=expected):
        parse_config(document, task_name="multi-instrument")


@pytest.mark.parametrize("name", READ)
def test_documents_keep_every_value(name):
    document = with_value(tiny_document("singing-voice"), name, VALUES[name][0])
    config = parse_config(document)
    written = json.loads(json.dumps(to_document(config)))
    assert parse_config(written) == config
    assert set(DERIVED) <= set(written["model"])


@pytest.mark.parametrize("value", [[], 3, "x", None])
def test_a_section_must_be_an_object(value):
    document = {**tiny_document(), "dataset": value}
    with pytest.raises(UserError, match="x: dataset must be an object, got"):
        parse_config(document, "x")


def test_a_dotted_name_is_no_way_into_a_section():
    document = {**tiny_document(), "dataset.path": "elsewhere"}
    with pytest.raises(UserError, match="unknown key"):
        parse_config(document)


@pytest.mark.parametrize(
    ("key", "value"), [("tensorboard", 1), ("verbosity", True), ("tensorboard", 0.0)]
)
def test_numbers_and_booleans_are_not_mixed_up(key, value):
    with pytest.raises(UserError, match=f"training.{key} must be"):
        parse_config(tiny_document(training={key: value}))
