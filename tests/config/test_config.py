"""A whole config: the facts that follow from its keys, copies and documents."""

import copy
import dataclasses
import json

import hypothesis
import pytest
from hypothesis import strategies

from sswavenet.config.document import parse_config, to_document
from sswavenet.config.session import DERIVED
from sswavenet.config.tasks import TASKS, OutputLoss
from tests.support import GOLDEN, ROOT, TASK_NAMES, tiny_config, tiny_document
from util import UserError

FULL_SIZE = {
    "multi-instrument": "config_multi_instrument.json",
    "singing-voice": "config_singing_voice.json",
}


def full_size(task_name):
    document = json.loads((ROOT / FULL_SIZE[task_name]).read_text("utf-8"))
    return parse_config(document, task_name=task_name)


# What takes more than one key.


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
