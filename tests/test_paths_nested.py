"""Paths through blocks beside and inside each other, against gradients scaled by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ensembles
from ensembles.analyses.path_options import PathOptions
from ensembles.errors import PathError
from tests.nested_networks import (
    ClassAttention,
    CrossStage,
    EarlyValues,
    LongSkip,
    Masked,
    Network,
    Patches,
    Reminded,
    Resolutions,
    Reversible,
    SpaceTime,
    made,
)

KINDS = (
    CrossStage, Resolutions, LongSkip, ClassAttention, Reversible, Reminded, SpaceTime, Patches,
    EarlyValues,
)  # fmt: skip


class _Scaled(torch.autograd.Function):
    """The value as it is, and the gradient times a number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * ctx.factor, None


def by_hand(model: Network, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each length, as the coefficients of a polynomial in the branches' scale."""
    factors = torch.linspace(-1, 1, model.count + 1, dtype=torch.float64)
    values = []
    for factor in factors.tolist():
        hooks = [
            part.branch.register_forward_hook(lambda _m, _x, out, f=factor: _Scaled.apply(out, f))
            for part in model.sums().values()
        ]
        probe = images.clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(probe), labels, reduction="sum")
        values.append(torch.autograd.grad(loss, probe)[0])
        for hook in hooks:
            hook.remove()
    powers = torch.stack([factors**k for k in range(model.count + 1)], 1)
    found = torch.linalg.solve(powers, torch.stack([value.flatten() for value in values]))
    return found.view(model.count + 1, len(images), -1)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_those_of_gradients_scaled_by_hand(kind: type[Network]) -> None:
    model = made(kind).double()
    images, labels = model.example.double(), torch.tensor([0, 1, 2])
    net = ensembles.decompose(model, images)
    options = {"signs": 0, "precision": "fp64", "engine": "general"}
    frame = ensembles.paths(net, [(images, labels)], device="cpu", **options)
    expected = by_hand(model, images, labels).norm(dim=-1).mean(1).numpy()
    assert np.allclose(frame["gradient_coherent"], expected, rtol=1e-6, atol=1e-10)
    assert frame.attrs["sum_error"] < 1e-9
    reached = frame["paths"].to_numpy(dtype=float) > 0
    assert (expected[~reached] < 1e-9).all() and (expected[reached] > 1e-12).all()
    logits = ensembles.paths(net, [(images, labels)], direction="logits", device="cpu", **options)
    assert logits.attrs["sum_error"] < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_the_additive_form_adds_up(kind: type[Network]) -> None:
    model = made(kind)
    net = ensembles.decompose(model, model.example)
    data = [(model.example, torch.tensor([0, 1, 2]))]
    for direction in ("gradient", "logits"):
        frame = ensembles.paths(
            net, data, signs=0, direction=direction, linearization="additive", precision="fp64"
        )
        assert frame.attrs["sum_error"] < 1e-9


def test_paths_are_counted_on_the_graph() -> None:
    """One sum around six: the whole way round, or one branch and any of the six."""
    net = ensembles.decompose(made(LongSkip), LongSkip.example)
    assert ensembles.count_paths(net)["paths"].tolist() == [1, 1, 6, 15, 20, 15, 6, 1]
    net = ensembles.decompose(made(CrossStage), CrossStage.example)
    assert sum(ensembles.count_paths(net)["paths"]) == (1 + 4) * (1 + 4)
    masked = made(Masked)
    net = ensembles.decompose(masked, masked.example)
    assert ensembles.count_paths(net)["paths"].tolist() == [1, 6, 15, 20, 15, 6, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "sampled", "samples": 8}, "single paths are not drawn (method 'sampled')"),
        ({"at": "block 2"}, "several tensors are alive at 'block 2'"),
    ],
)
def test_what_is_not_expanded_is_refused(options: dict[str, Any], message: str) -> None:
    net = ensembles.decompose(made(LongSkip), LongSkip.example)
    data = [(LongSkip.example, torch.tensor([0, 1, 2]))]
    with pytest.raises(PathError) as error:
        ensembles.paths(net, data, options=PathOptions(signs=0), **options)
    assert message in str(error.value) and "--chain" in str(error.value)


def test_random_signs_give_the_norm_of_single_paths() -> None:
    model = made(LongSkip)
    net = ensembles.decompose(model, model.example)
    data = [(model.example, torch.tensor([0, 1, 2]))]
    frame = ensembles.paths(net, data, signs=4, device="cpu")
    first = frame.iloc[0]
    assert np.isclose(first["gradient_rms"], first["gradient_coherent"], rtol=1e-3)
    assert (frame["gradient_rms"] > 0).all()
