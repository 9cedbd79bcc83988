"""Weights of a file become those of a network, or it is said why they do not fit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from checkpoint_values import drawn_resnet20, refusal, same
from torch import Tensor, nn

from ensembles.checkpoints import build_with_weights
from ensembles.models import create_model

State = dict[str, Tensor]


@pytest.fixture
def model() -> nn.Module:
    return drawn_resnet20()


@pytest.fixture
def state(model: nn.Module) -> State:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "model.", "net.", "model.module.", "backbone."])
def test_prefixes_are_understood(prefix: str, state: State, model: nn.Module) -> None:
    loaded, classes = build_with_weights("resnet20", {prefix + k: v for k, v in state.items()})
    assert classes == 10
    assert not loaded.training
    assert same(loaded, model)


def test_names_of_other_implementations_are_understood(tmp_path: Path) -> None:
    model = create_model("resnet20_b", 100).eval()
    state = {
        name.replace("linear.", "fc.").replace(".shortcut.", ".downsample."): value
        for name, value in model.state_dict().items()
    }
    loaded, classes = build_with_weights("resnet20_b", state)
    assert classes == 100
    assert same(loaded, model)
    message = refusal(build_with_weights, "resnet20", state)
    assert message.endswith("; it fits resnet20_b: name that as the model")


def test_the_number_of_classes_is_that_of_the_weights(state: State) -> None:
    state["linear.weight"], state["linear.bias"] = torch.ones(100, 64), torch.ones(100)
    model, classes = build_with_weights("resnet20", state)
    assert classes == 100
    assert model.get_submodule("linear").out_features == 100
    message = refusal(build_with_weights, "resnet20", state, num_classes=10, origin="x.pth")
    assert message == (
        "x.pth has 100 classes (linear.weight 100x64), the model 10: pass num_classes=100, or none"
    )


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_weights_saved_without_their_auxiliary_heads(name: str) -> None:
    saved = create_model(name, 3, aux_logits=False, init_weights=False).state_dict()
    model, classes = build_with_weights(name, saved)
    assert classes == 3
    assert model.state_dict().keys() == saved.keys()


def test_a_model_far_wider_than_its_weights_is_not_built(state: State) -> None:
    message = refusal(build_with_weights, "resnet20", state, num_classes=10**12)
    assert message == "the checkpoint has no layer for 1,000,000,000,000 classes"


@pytest.mark.parametrize("name", ["squeezenet1_0", "mobilenet_v3_small", "timm:resnet10t"])
def test_the_number_of_classes_of_library_models(name: str) -> None:
    weights = create_model(name, num_classes=7).state_dict()
    model, classes = build_with_weights(name, weights)
    assert classes == 7
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_single(dtype: torch.dtype, state: State) -> None:
    given_ = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    model, _ = build_with_weights("resnet20", given_)
    for name, value in model.state_dict().items():
        assert value.dtype == state[name].dtype
        assert torch.equal(value, given_[name].to(value.dtype))


def test_old_files_without_counts_of_batches(state: State, model: nn.Module) -> None:
    kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert same(build_with_weights("resnet20", kept)[0], model)


def test_25_missing_keys_are_counted_and_the_first_named(state: State) -> None:
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    for name in names[5:30]:
        del state[name]
    message = refusal(build_with_weights, "resnet20", state, origin="x.pth")
    assert message.startswith("x.pth does not fit resnet20: 25 missing (layer1.0.conv1.weight, ")
    assert message.endswith("and 21 more)")


def test_missing_unexpected_and_misshapen_are_all_listed(state: State) -> None:
    del state["conv1.weight"]
    state["extra.weight"] = torch.ones(2)
    state["bn1.weight"] = torch.ones(17)
    state["layer1.0.bn1.bias"] = torch.ones(16, dtype=torch.int64)
    message = refusal(build_with_weights, "resnet20", state)
    assert "1 missing (conv1.weight)" in message
    assert "1 unexpected (extra.weight)" in message
    assert "1 of another shape (bn1.weight 17, the model 16)" in message
    assert "1 of another kind of number (layer1.0.bn1.bias int64)" in message


def test_a_file_of_another_network(state: State) -> None:
    message = refusal(build_with_weights, "vgg15", state)
    assert "missing (features.0.weight" in message
    assert "unexpected (conv1.weight" in message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["layer2.1.conv1.weight", "layer1.0.bn2.running_var"])
def test_values_that_are_not_finite_are_named(state: State, name: str, value: float) -> None:
    state[name].view(-1)[3] = value
    message = refusal(build_with_weights, "resnet20", state)
    assert f"{name} has 1 of {state[name].numel()} values NaN or infinite" in message


def test_a_negative_variance_is_named(state: State) -> None:
    state["bn1.running_var"][2] = -0.1
    message = refusal(build_with_weights, "resnet20", state)
    assert "bn1.running_var has 1 of 16 values negative variances" in message


def test_a_double_that_overflows_is_refused(state: State) -> None:
    state["conv1.weight"] = state["conv1.weight"].double() * 1e300
    assert "conv1.weight has" in refusal(build_with_weights, "resnet20", state)
