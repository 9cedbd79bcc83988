"""Networks whose names say their widths, and widths that meet a number of parameters."""

from __future__ import annotations

import pytest
import torch

import ensembles
from ensembles.errors import ModelError, UsageError
from ensembles.models import architecture, create_model, list_models
from ensembles.models.matched import _Count, count_parameters, match
from ensembles.models.sized import SIZED

DEPTHS = (8, 20, 56, 110)
SMALL = {"preresnet": 8, "plain": 8, "wide": 8, "vgg": 7, "perceptron": 4}


def built(name: str, **arguments: int) -> int:
    with torch.random.fork_rng():
        return sum(one.numel() for one in create_model(name, **arguments).parameters())


@pytest.mark.parametrize("family", SIZED)
def test_each_depth_meets_the_number_with_an_exact_count(family: str) -> None:
    for depth in DEPTHS:
        found = match(family, depth, 250_000)
        assert abs(found.parameters / 250_000 - 1) <= 0.02, found
        assert found.parameters == built(found.name), found
        assert architecture(found.name).family == family


@pytest.mark.parametrize("family", SIZED)
def test_counts_of_all_widths_follow_from_a_few(family: str) -> None:
    depth = SMALL[family] + SIZED[family].step
    count = _Count(SIZED[family], depth, 7, 1)
    for factor in (1, 3, 5):
        widths = tuple(
            factor * part + place for place, part in enumerate(SIZED[family].stages(depth))
        )
        name = SIZED[family].name(depth, widths)
        assert count(widths) == built(name, num_classes=7, in_channels=1), name


def test_proportions_come_before_nearness() -> None:
    found = match("preresnet", 20, 269_722, tolerance=0.02)
    assert found.widths == (16, 32, 64)
    assert found.parameters == 269_722


def test_the_published_networks_are_members() -> None:
    assert count_parameters("preresnet20-w16-32-64") == count_parameters("preresnet20") == 269_722
    assert count_parameters("wrn-16-w128-256-512") == count_parameters("wrn-16-8") == 10_961_370
    # 20 layers of He et al. 2015 with shortcuts of option A have as many as without.
    assert count_parameters("plain20-w16-32-64") == count_parameters("resnet20")


def test_layers_are_counted() -> None:
    for family, depth in SMALL.items():
        name = SIZED[family].name(depth, [3] * len(SIZED[family].stages(depth)))
        model = create_model(name)
        layers = [
            one for one in model.modules() if isinstance(one, (torch.nn.Conv2d, torch.nn.Linear))
        ]
        shortcuts = 3 * (family == "wide")
        assert len(layers) == depth + shortcuts, name


@pytest.mark.parametrize(
    ("name", "blocks", "paths"),
    [
        ("preresnet8-w3-5-9", 3, 8),
        ("wrn-10-w4-8-16", 3, 8),
        ("plain8-w3-5-9", 8, 1),
        ("vgg8-w3-4-5-6-7", 8, 1),
        ("perceptron5-w9-8-7", 5, 1),
    ],
)
def test_they_decompose_lesion_and_expand_like_any_other(
    name: str, blocks: int, paths: int
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ensembles.create_model(name).eval()
    data = ensembles.dataset("digits", split="test", limit=4)
    images, _ = next(data.batches(4))
    net = ensembles.decompose(model, images)
    assert torch.equal(net(images), model(images))
    assert (len(net.blocks), ensembles.count_paths(net)["paths"].sum()) == (blocks, paths)
    frame = ensembles.lesion(net, data, device="cpu")
    direct = ensembles.lesion(net, data, engine="direct", device="cpu")
    assert list(frame["lesion"]) == ["none"] + ["delete"] * blocks
    assert list(frame["correct"]) == list(direct["correct"])
    if paths > 1:
        spectrum = ensembles.paths(net, data, signs=2, images=2, device="cpu")
        assert sum(spectrum["paths"]) == paths


def test_no_other_names_are_taken_for_sizes() -> None:
    assert not [name for name in list_models("ensembles") if "-w" in name]
    for name in ("preresnet20-w", "resnet20-w1-2-3", "plain8-w0-1-2", "preresnet020-w1-2-3"):
        with pytest.raises(ModelError, match="unknown model"):
            architecture(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("preresnet9-w4-8-16", "depth 9 is none of 8, 14, 20"),
        ("wrn-12-w4-8-16", "depth 12 is none of 10, 16, 22"),
        ("plain8-w4-8", "2 widths; expected 3, one for each stage"),
        ("preresnet8-w16-8-4", "16 channels and then 8; a shortcut without parameters takes no"),
    ],
)
def test_sizes_that_no_network_has(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model(name)


@pytest.mark.parametrize(
    ("family", "depth", "parameters", "message"),
    [
        ("resnets", 20, 1000, "family 'resnets' is unknown: expected preresnet, plain, wide"),
        ("plain", 21, 1000, "plain networks have 8, 14, 20, ... layers .*; take 20"),
        ("plain", 2, 1000, "take 8"),
        ("vgg", 8, 0, "0 parameters; expected 1 to 1,000,000,000"),
        ("preresnet", 110, 100, "to within 2 %; the nearest, preresnet110-w1-1-1, has 1,"),
    ],
)
def test_what_cannot_be_met(family: str, depth: int, parameters: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        match(family, depth, parameters)
