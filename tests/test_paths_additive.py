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


class Excited(nn.Module):
    """Blocks whose channels are weighted by a gate that is made of themselves (Hu et al. 2018)."""

    def __init__(self, gate: str) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 3)
        self.blocks = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1, bias=False) for _ in range(2))
        self.squeezed, self.gate = nn.ModuleList(nn.Linear(6, 6) for _ in range(2)), gate

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for block, squeezed in zip(self.blocks, self.squeezed, strict=True):
            made = nn.functional.silu(block(x))
            opened = squeezed(made.mean((2, 3))).sigmoid()
            if self.gate == "of another activation":
                x = x + nn.functional.gelu(block(x)) * opened[:, :, None, None]
            elif self.gate == "of two openings":
                x = x + torch.tanh(block(x)) * opened.unsqueeze(2).unsqueeze(3)
            else:
                x = x + made * opened.view(-1, 6, 1, 1)
        out: Tensor = self.head(x.mean((2, 3)))
        return out


@pytest.mark.parametrize("gate", ["of itself", "of another activation", "of two openings"])
def test_a_gate_is_held_and_what_it_multiplies_is_not(gate: str) -> None:
    torch.manual_seed(0)
    images, model = torch.randn(2, 3, 8, 8), Excited(gate).eval()
    net = ensembles.decompose(model, images)
    frame = ensembles.paths(
        net, [(images, torch.tensor([0, 1]))], direction="logits", linearization="additive",
        precision="fp64",
    )  # fmt: skip
    assert frame.attrs["sum_error"] < 1e-12
    assert frame["logit_norm"].min() > 1e-3
    with differentiable():
        linear = Linearizer(additive(prepared(net, torch.device("cpu"), "fp64"))).at(
            images.double()
        )
    for block in linear.blocks:  # a branch without biases is all slope, nothing constant
        assert block.branch is not None
        rest = block.branch.constant()
        assert rest is not None
        assert float(rest.abs().max()) < 1e-12


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
