"""Batch normalisation is a layer however it is called, so that its statistics can be renewed."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from networks import conv
from torch import Tensor, nn

from ensembles.decomposition import Decomposition, decompose, trace
from ensembles.engine import evaluate
from ensembles.engine.materials import Materials
from ensembles.lesions import Delete, Intact, Lesion
from ensembles.tasks import task_of


class Own(nn.BatchNorm2d):
    """A class of the user's, which calls the function."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training,
            self.momentum, self.eps,
        )  # fmt: skip


class Inherited(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Keywords(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, bias=self.bias, weight=self.weight, eps=self.eps
        )


class Builtin(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return torch.batch_norm(
            x, self.weight, self.bias, self.running_mean, self.running_var, False, 0.1, self.eps,
            False,
        )  # fmt: skip


class Shifted(nn.BatchNorm2d):
    """A view that is overwritten sends the model to `torch.export`."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x).clone()
        out.transpose(2, 3).mul_(1.0)
        return out


class Residual(nn.Module):
    def __init__(self, norm: type[nn.BatchNorm2d]) -> None:
        super().__init__()
        self.stem, self.first = conv(3, 4), norm(4, eps=1e-3)
        self.convs = nn.ModuleList(conv(4, 4) for _ in range(3))
        self.norms = nn.ModuleList(norm(4, affine=i != 1) for i in range(3))
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x))
        for layer, norm in zip(self.convs, self.norms, strict=True):
            x = x + norm(layer(x)).relu()
        return self.head(x.mean((2, 3)))


def network(norm: type[nn.BatchNorm2d]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Residual(norm)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.3, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                if module.affine:
                    nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = [(IMAGES, torch.arange(12) % 5)]


def losses(net: Decomposition, lesions: list[Lesion]) -> list[float]:
    materials = Materials(net, task=task_of(net), reference=DATA)
    return [one.loss for one in evaluate(net, DATA, lesions, materials=materials)]


@pytest.mark.parametrize("norm", [Own, Inherited, Keywords, Builtin, Shifted])
def test_norms_of_every_spelling_can_be_renewed(norm: type[nn.BatchNorm2d]) -> None:
    """A sweep with recalibrated statistics gives what it gives for torch's own layer."""
    model = network(norm)
    before = copy.deepcopy(model.state_dict())
    net, usual = decompose(model, IMAGES[:2]), decompose(network(nn.BatchNorm2d), IMAGES[:2])
    assert net.batch_norms == usual.batch_norms == 4
    with torch.no_grad():
        torch.testing.assert_close(net(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)
    lesions = [Intact(), Delete((2,)), Delete((2,)).recalibrated(2, 6), Intact().recalibrated(2, 6)]
    found, expected = losses(net, lesions), losses(usual, lesions)
    assert found == pytest.approx(expected, rel=1e-4)
    assert len(set(found)) == 4
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_norm_that_is_called_twice_is_one_layer() -> None:
    class Twice(Residual):
        def forward(self, x: Tensor) -> Tensor:
            x = self.first(self.stem(x))
            for layer in self.convs:
                x = x + self.norms[0](layer(x)).relu()
            return self.head(x.mean((2, 3)))

    for norm in (nn.BatchNorm2d, Own):
        with torch.random.fork_rng(devices=[]):
            net = decompose(Twice(norm).eval(), IMAGES[:2])
        assert (len(net), net.batch_norms) == (3, 2)


def test_exported_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    exports: list[nn.Module] = []
    export = trace._exported
    monkeypatch.setattr(
        trace, "_exported", lambda model, rows: exports.append(model) or export(model, rows)
    )
    assert decompose(network(Shifted), IMAGES[:2]).batch_norms == 4
    assert exports


@pytest.mark.parametrize(("shape", "norm"), [((5,), nn.BatchNorm1d), ((5, 6), nn.BatchNorm1d),
                                             ((5, 3, 4, 4), nn.BatchNorm3d)])  # fmt: skip
def test_other_dimensions(shape: tuple[int, ...], norm: type[nn.Module]) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.rand(5))
            self.register_buffer("var", torch.rand(5) + 1)
            self.head = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = x + F.batch_norm(x, self.mean, self.var).sin() * self.head.weight.sum()
            return self.head(x.reshape(len(x), 5, -1).mean(-1))

    model, x = Model(), torch.randn(2, *shape)
    net = decompose(model, x, kinds=["residual", "plain"])
    assert net.batch_norms == 1
    assert any(isinstance(module, norm) for module in net.modules())
    with torch.no_grad():
        torch.testing.assert_close(net(x), model(x))
