"""The additive form of networks: what is held has no derivative, and values come out whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import build, images_for
from test_paths_tokens import IDS, model_of
from torch import Tensor, nn

import ensembles
from ensembles.errors import PathError
from ensembles.numerics import differentiable
from ensembles.unravelling.additive import additive, require_additive
from ensembles.unravelling.linearization import Linearizer
from ensembles.unravelling.measurement import prepared
from ensembles.unravelling.token_streams import at_token


def without_biases(model: nn.Module) -> nn.Module:
    """The model with all biases at zero, and weights that are large enough to bend it."""
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.5)
        elif "bias" in name:
            nn.init.zeros_(weight)
    return model


@pytest.mark.parametrize("name", ["gpt", "gpt2", "llama", "gpt_neox"])
def test_held_maps_give_the_whole_value(name: str) -> None:
    torch.manual_seed(0)
    net = ensembles.decompose(without_biases(model_of(name)), IDS[:2])
    first, ((stream, _),) = at_token(net, IDS, None)
    double, stream = prepared(first, torch.device("cpu"), "fp64"), stream.double()
    held = additive(double)
    require_additive(held, stream)
    with pytest.raises(PathError, match="is not linear where attention patterns, gates"):
        require_additive(double, stream)
    with torch.no_grad():
        assert torch.allclose(held(stream), double(stream), rtol=1e-12, atol=1e-12)
    with differentiable():
        linear, bent = (Linearizer(one, "general").at(stream) for one in (held, double))
        constants = [
            [block.branch.constant() for block in net.blocks if block.branch is not None]
            for net in (linear, bent)
        ]
    for rest, bend in zip(*constants, strict=True):
        assert rest is not None and bend is not None
        assert float(rest.abs().max()) < 1e-12 * float(stream.abs().max())
        assert float(bend.abs().max()) > 1e-3
    frame = ensembles.paths(
        net, IDS, images=3, direction="logits", precision="fp64", linearization="additive"
    )
    assert frame.attrs["constant_norm"] < 1e-12
    assert frame.attrs["sum_error"] < 1e-12


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_lengths_add_up_to_the_gradient_of_the_additive_form(name: str) -> None:
    net = ensembles.decompose(model_of(name), IDS[:2])
    found = {
        form: ensembles.paths(net, IDS, images=3, signs=0, linearization=form)
        for form in ("derivatives", "additive")
    }
    for frame in found.values():
        assert frame.attrs["sum_error"] < 1e-12
    assert found["additive"].attrs["provenance"]["linearization"] == "additive"
    one, other = (frame["gradient_coherent"] for frame in found.values())
    assert one[0] != other[0]  # the head's norm is held too


def test_a_network_of_relus_is_its_own_additive_form() -> None:
    model = build([("post", 6, 1), ("pre", 8, 2)])
    images, labels = images_for(model, 3)
    net = ensembles.decompose(model, images)
    one, other = (
        ensembles.paths(net, [(images, labels)], signs=0, linearization=form, precision="fp64")
        for form in ("derivatives", "additive")
    )
    assert other["gradient_coherent"].tolist() == pytest.approx(one["gradient_coherent"].tolist())


class Bent(nn.Module):
    """A block that multiplies its input with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x) * self.inner(x)


def test_what_is_not_held_is_refused() -> None:
    torch.manual_seed(0)
    rows, model = torch.randn(3, 4), nn.Sequential(Bent(), nn.Linear(4, 3))
    net = ensembles.decompose(model.eval(), rows)
    data: Any = [(rows, torch.tensor([0, 1, 2]))]
    with pytest.raises(PathError, match=r"block 1 \(0.*\) is not linear where .* are held"):
        ensembles.paths(net, data, signs=0, linearization="additive")
