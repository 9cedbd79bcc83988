"""Normalisations as sums and products: the same values, derivatives right for a single image."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ensembles
from ensembles.decomposition import decompose
from ensembles.unravelling.measurement import measure_gradients, measure_logits
from ensembles.unravelling.places import Place
from ensembles.unravelling.plain_norms import with_plain_norms

CHANNELS = 6
_aten = torch.ops.aten
_DRAWS = torch.Generator().manual_seed(0)
MEAN, WEIGHT, BIAS = (torch.randn(CHANNELS, generator=_DRAWS).double() for _ in range(3))
VARIANCE = torch.rand(CHANNELS, generator=_DRAWS).double() + 0.5
_OF_TORCH = (WEIGHT, BIAS, MEAN, VARIANCE)

NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "batch": lambda x: F.batch_norm(x, MEAN, VARIANCE, WEIGHT, BIAS, False, 0.1, 0.3),
    "batch without weights": lambda x: F.batch_norm(x, MEAN, VARIANCE),
    "batch with a bias by name": lambda x: F.batch_norm(x, MEAN, VARIANCE, bias=BIAS, eps=1),
    "batch of torch": lambda x: torch.batch_norm(x, *_OF_TORCH, False, 0.1, 0.3, False),
    "batch of aten": lambda x: _aten.batch_norm.default(x, *_OF_TORCH, False, 0.1, 0.3, False),
    "instances": lambda x: F.instance_norm(x, weight=WEIGHT, bias=BIAS),
    "instances by statistics": lambda x: F.instance_norm(x, MEAN, VARIANCE, None, None, False),
    "instances of torch": lambda x: torch.instance_norm(
        x, WEIGHT, BIAS, None, None, True, 0.1, 0.3, False
    ),
    "instances of aten": lambda x: _aten.instance_norm.default(
        x, *_OF_TORCH, False, 0.1, 0.3, False
    ),
}
SHAPES = {"image": (3, 4), "video": (2, 3, 3), "sequence": (7,)}


def tokens(x: Tensor) -> Tensor:
    """Channels to the end, as before tokens."""
    return x.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("rows", [1, 2])
def test_values_are_those_of_torch_and_derivatives_those_of_differences(
    norm: Callable[[Tensor], Tensor], shape: tuple[int, ...], rows: int
) -> None:
    draws = torch.Generator().manual_seed(1)
    x, direction = torch.randn(2, rows, CHANNELS, *shape, generator=draws).double()
    plain = with_plain_norms(norm)
    assert torch.allclose(plain(x), norm(x))
    weights = torch.randn(tokens(x).shape, generator=draws).double()

    def value(x: Tensor, norm: Callable[[Tensor], Tensor]) -> Tensor:
        return (tokens(norm(x)).sin() * weights).sum()

    probe = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(probe, plain), probe)
    step = 1e-6 * direction
    differences = (value(x + step, norm) - value(x - step, norm)) / 2e-6
    assert float((slope * direction).sum()) == pytest.approx(float(differences), rel=1e-6)


class TokensOfChannels(nn.Module):
    """Residual convolutions, whose normalised positions become tokens."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(3))
        self.norm, self.after = norm, nn.LayerNorm(CHANNELS)
        self.mix, self.head = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        x = self.after(tokens(self.norm(x)).sin())
        x = x + self.mix(x).tanh()
        out: Tensor = self.head(x.square().mean(1))
        return out


MODULES = [
    nn.BatchNorm2d(CHANNELS),
    nn.BatchNorm2d(CHANNELS, affine=False),
    nn.InstanceNorm2d(CHANNELS, affine=True),
    nn.InstanceNorm2d(CHANNELS, track_running_stats=True),
]


@pytest.fixture(params=MODULES, ids=str)
def model(request: pytest.FixtureRequest) -> nn.Module:
    """A network with one of the normalisations, with weights and statistics of their own."""
    norm: nn.Module = request.param
    torch.manual_seed(0)
    for value in (*norm.parameters(), *norm.buffers()):
        if value.is_floating_point():
            nn.init.uniform_(value, 0.5, 1.5)
    return TokensOfChannels(norm).eval()


@pytest.mark.parametrize("rows", [1, 2])
def test_paths_add_up(model: nn.Module, rows: int) -> None:
    images = torch.randn(2, 3, 8, 8)
    net = decompose(model, images)
    batches = [(images[:rows], torch.zeros(rows, dtype=torch.long))]
    for place in (Place("input"), Place("parameters", 2)):
        _, error = measure_gradients(net, batches, [place], exact=True, signs=0, samples=0)
        assert error is not None
        assert error < 1e-5
    assert measure_logits(net, batches)[1] < 1e-5


@pytest.mark.parametrize("analysis", ["refinement", "spectra"])
def test_analyses_of_single_images_are_those_of_batches(model: nn.Module, analysis: str) -> None:
    images, labels = torch.randn(4, 3, 8, 8), torch.arange(4)
    net, data = decompose(model, images), torch.utils.data.TensorDataset(images, labels)
    one, all_of_them = (ensembles.analyze(net, data, analysis, batch_size=size) for size in (1, 4))
    pd.testing.assert_frame_equal(one, all_of_them, rtol=1e-3, atol=1e-5)
    if analysis == "spectra":  # a sine is not linear with scales held
        assert "what precedes block 4 (mix) is not linear" in one.attrs["not_held"]
        assert one["held"].isna().all()
        (held,) = [row for row in one.attrs["linear"] if row["way"] == "held"]
        assert held["explained"] is None
