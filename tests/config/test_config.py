"""Every key, every error, and the facts that follow from the keys."""

import copy
import dataclasses
import json
import math
import pathlib

import hypothesis
import pytest
from hypothesis import strategies

from sswavenet.config.document import parse_config, to_document
from sswavenet.config.keys import REQUIRED
from sswavenet.config.session import DERIVED, KEYS, Config
from sswavenet.config.tasks import TASKS, OutputLoss
from tests.support import GOLDEN, TASK_NAMES, tiny_config, tiny_document
from util import UserError

ROOT = pathlib.Path(__file__).parents[2]
FULL_SIZE = {
    "multi-instrument": "config_multi_instrument.json",
    "singing-voice": "config_singing_voice.json",
}
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


def full_size(task_name):
    document = json.loads((ROOT / FULL_SIZE[task_name]).read_text("utf-8"))
    return parse_config(document, task_name=task_name)


# Keys and values.


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


# What takes more than one key.


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


@pytest.mark.parametrize(
    ("task_name", "other", "count"),
    [
        ("multi-instrument", "singing-voice", 3),
        ("singing-voice", "multi-instrument", 2),
    ],
)
def test_there_is_one_loss_for_each_supervised_stem(task_name, other, count):
    losses = tiny_document(other)["training"]["loss"]
    with pytest.raises(UserError, match=f"keys out_1 to out_{count} for {task_name}"):
        tiny_config(task_name, training={"loss": losses})


def test_padding_lies_within_the_receptive_field():
    # Two stacks of dilations 1, 2, 4 and taps of 3 see 14 samples on either side.
    assert tiny_config(model={"target_padding": 14}).target_padding == 14
    with pytest.raises(UserError, match=r"at most half the receptive field \(14\)"):
        tiny_config(model={"target_padding": 15})


# Facts that follow.


@pytest.mark.parametrize(
    ("task_name", "num_params"),
    [("multi-instrument", 3_277_763), ("singing-voice", 3_277_249)],
)
def test_full_size_facts(task_name, num_params):
    config = full_size(task_name)
    assert config.receptive_field_length == 8185
    assert config.input_length == 9785
    assert config.padded_target_field_length == 1603
    assert config.num_residual_blocks == 40
    assert config.num_params == num_params
    # The true field, all layers counted, is 8191.
    assert 2 * config.context_length + 1 == 8191
    assert len(config.weight_shapes) == 1 + 2 * 40 + 4


def test_receptive_fields_are_those_of_2018(golden):
    facts = json.loads((golden / "facts.json").read_text("utf-8"))
    expected = facts["receptive_field_length"]
    network = {"num_stacks": 2, "dilations": [1, 2, 4, 8, 16]}
    assert (
        tiny_config(model=network).receptive_field_length
        == (expected["stacks2_dil5_k3"])
    )
    network = {"num_stacks": 4, "dilations": 9}
    assert (
        tiny_config(model=network).receptive_field_length
        == (expected["stacks4_dil10_k3"])
    )


def test_layers_have_the_names_of_2018():
    names = tiny_config().block_names
    assert names == [
        "res_1_dilated_conv_d1_s0",
        "res_2_dilated_conv_d2_s0",
        "res_3_dilated_conv_d4_s0",
        "res_4_dilated_conv_d1_s1",
        "res_5_dilated_conv_d2_s1",
        "res_6_dilated_conv_d4_s1",
    ]
    names = full_size("singing-voice").block_names
    assert names[10] == "res_11_dilated_conv_d1_s1"
    assert names[39] == "res_40_dilated_conv_d512_s3"


def test_filter_lengths_count_in_the_fields():
    network = {"filters": tiny_document()["model"]["filters"]}
    network["filters"]["lengths"] = {"res": 5, "final": [7, 9], "skip": 1}
    config = tiny_config(model=network)
    # 2 stacks x (1 + 2 + 4) x 4 + 1, then 2 of the first convolution, 3 + 4 at the end.
    assert config.receptive_field_length == 57
    assert config.head_margin == 7
    assert config.context_length == 28 + 2 + 7


@pytest.mark.parametrize("name", DERIVED)
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_derived_keys_are_checked(task_name, name):
    document = json.loads((GOLDEN / task_name / "config.json").read_text("utf-8"))
    given = document["model"][name]
    assert getattr(parse_config(document), name) == given
    for value in (given + 1, str(given), []):
        document["model"][name] = value
        with pytest.raises(UserError) as caught:
            parse_config(document, "here")
        assert str(caught.value) == (
            f"here: model.{name} is {value!r}, but the other keys give {given}"
        )
    document["model"][name] = None
    parse_config(document)


# Tasks.


def test_tasks_are_those_of_the_paper():
    multi, singing = (TASKS[name] for name in TASK_NAMES)
    assert multi.estimates == multi.supervised == ("vocals", "drums", "bass")
    assert multi.stems == ("vocals", "drums", "bass", "other")
    assert singing.estimates == ("vocals",)
    assert singing.supervised == singing.stems == ("vocals", "accompaniment")


def test_the_dissimilarity_term_has_its_weight():
    assert full_size("singing-voice").losses == (
        OutputLoss(1, 1, 0),
        OutputLoss(-0.05, 1, 0),
    )


# Immutability, copies, documents.


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_config().batch_size = 3


def test_parsing_leaves_the_document_alone():
    document = tiny_document()
    before = copy.deepcopy(document)
    parse_config(document)
    assert document == before


def test_replace_changes_a_copy_and_checks_it():
    config = tiny_config()
    changed = config.replace(batch_size=7, dilations=[1, 3])
    assert (changed.batch_size, changed.dilations) == (7, (1, 3))
    assert changed.num_residual_blocks == 4
    assert config == tiny_config()
    with pytest.raises(UserError, match=r"training\.batch_size must be a whole number"):
        config.replace(batch_size=0)


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_a_session_of_2018_is_written_as_it_was(task_name):
    document = json.loads((GOLDEN / task_name / "config.json").read_text("utf-8"))
    written = to_document(parse_config(document))
    assert written["training"].pop("seed") == 1337
    assert written == document


@pytest.mark.parametrize("name", READ)
def test_documents_keep_every_value(name):
    document = with_value(tiny_document("singing-voice"), name, VALUES[name][0])
    config = parse_config(document)
    written = json.loads(json.dumps(to_document(config)))
    assert parse_config(written) == config
    assert set(DERIVED) <= set(written["model"])


def test_documents_leave_out_added_keys_with_their_defaults_but_for_the_seed():
    written = to_document(tiny_config())
    assert "augmentation" not in written["dataset"]
    assert "cooldown" not in written["optimizer"]
    added = {"early_stopping_monitor", "keep_checkpoints", "tensorboard"}
    assert added.isdisjoint(written["training"])
    assert written["training"]["seed"] == 1337


@pytest.mark.parametrize(
    ("dilations", "written"), [(9, 9), ([1, 2, 4], 2), ([1, 3], [1, 3]), ([1], 0)]
)
def test_powers_of_two_are_written_as_an_exponent(dilations, written):
    config = tiny_config(model={"dilations": dilations})
    assert to_document(config)["model"]["dilations"] == written


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("config_*.json")), ids=lambda p: p.stem
)
def test_shipped_configs_parse(path):
    document = json.loads(path.read_text("utf-8"))
    num_losses = len(document["training"]["loss"])
    parse_config(document, task_name=TASK_NAMES[0 if num_losses == 3 else 1])


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


ODD = strategies.integers(0, 4).map(lambda k: 2 * k + 1)
CHANNELS = strategies.integers(1, 300)


@hypothesis.given(
    dilations=strategies.integers(0, 10)
    | strategies.lists(strategies.integers(1, 600), min_size=1, max_size=12),
    num_stacks=strategies.integers(1, 6),
    depths=strategies.tuples(CHANNELS, CHANNELS, CHANNELS, CHANNELS),
    lengths=strategies.tuples(ODD, ODD, ODD),
    field=strategies.integers(1, 50000),
    task_name=strategies.sampled_from(TASK_NAMES),
)
def test_facts_of_any_network_follow_from_its_keys(
    dilations, num_stacks, depths, lengths, field, task_name
):
    document = tiny_document(
        task_name,
        model={
            "dilations": dilations,
            "num_stacks": num_stacks,
            "filters": {
                "depths": {"res": depths[0], "skip": depths[1], "final": depths[2:]},
                "lengths": {"res": lengths[0], "final": lengths[1:], "skip": 1},
            },
            "target_field_length": field,
            "target_padding": 0,
        },
    )
    config = parse_config(document)
    steps = (
        [2**k for k in range(dilations + 1)] if dilations in range(11) else dilations
    )
    steps = list(steps) * num_stacks
    residual, skip, first, second = depths
    outputs = {"multi-instrument": 3, "singing-voice": 1}[task_name]
    parameters = lengths[0] * residual
    for _ in steps:
        parameters += lengths[0] * residual * 2 * residual + residual * (
            residual + skip
        )
    parameters += lengths[1] * skip * first + lengths[2] * first * second
    parameters += second * outputs + outputs
    reach = sum(step * (lengths[0] - 1) for step in steps)
    assert config.num_params == parameters
    assert config.num_residual_blocks == len(steps)
    assert config.input_length == reach + field
    halves = [reach, *(length - 1 for length in lengths)]
    assert config.context_length == sum(halves) // 2
    assert parse_config(to_document(config)) == config
