"""Lesioned networks as modules of their own."""

from __future__ import annotations

import copy
import gc
import io
import weakref

import pytest
import torch
from networks import build, decomposable, images_for
from torch import Tensor, nn

import ensembles
from ensembles.decomposition import decompose
from ensembles.engine import Materials, lesioned_module
from ensembles.errors import LesionError, PathError, UsageError
from ensembles.lesions import (
    Delete,
    Duplicate,
    Intact,
    Lesion,
    MeanBranch,
    Noise,
    Parallel,
    Randomize,
    Repeat,
    Scale,
    Transplant,
)


def test_a_module_stands_by_itself() -> None:
    model = decomposable()
    images, labels = images_for(model, 6)
    net = decompose(model, images)
    module = lesioned_module(
        net, Delete((2,)).recalibrated(1, 6), Materials(net, reference=[(images, labels)])
    )
    assert not module.training and not any(inner.training for inner in module.modules())
    ours = {id(tensor) for tensor in (*net.parameters(), *net.buffers())}
    assert not ours & {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    with torch.no_grad():
        expected = module(images)
        for twin in (copy.deepcopy(module), loaded(module)):
            assert torch.equal(twin(images), expected)
        for value in net.parameters():
            value.zero_()
        assert torch.equal(module(images), expected)
        module.double()(images.double())
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None and torch.isfinite(module(images.double())).all()


def loaded(module: nn.Module) -> nn.Module:
    """The module after its weights went through a file into a copy with other ones."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    twin = copy.deepcopy(module)
    for value in twin.parameters():
        value.data.normal_()
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    return twin


def test_what_is_removed_is_not_in_it() -> None:
    model = decomposable()
    images, _ = images_for(model, 4)
    net = decompose(model, images)
    whole, pruned = (sum(p.numel() for p in lesioned_module(net, one).parameters())
                     for one in (Intact(), Delete((1, 4))))  # fmt: skip
    removed = sum(p.numel() for i in (1, 4) for p in net.block(i).branch.parameters())
    assert pruned == whole - removed
    twice = lesioned_module(net, Repeat((4,), 3))
    assert sum(p.numel() for p in twice.parameters()) == whole


def test_modules_can_be_trained() -> None:
    model = decomposable()
    images, labels = images_for(model, 4)
    module = lesioned_module(decompose(model, images), Scale((2,), 0.5))
    module.requires_grad_()
    nn.functional.cross_entropy(module(images), labels).backward()
    assert all(value.grad is not None for value in module.parameters())


@pytest.mark.parametrize(
    "lesion",
    [
        Delete((1, 3)),
        Scale((2,), 0.5).then(Repeat((4,), 2)),
        MeanBranch((2,), 8),
        Parallel((4, 5), mean=True),
        Randomize((3,), seed=1),
        Transplant((5,), "other").recalibrated(2, 4),
    ],
    ids=str,
)
def test_modules_can_be_exported(lesion: Lesion) -> None:
    plan = [("dense", 0, 1), ("pre", 6, 1), ("post", 8, 2), ("post", 8, 1), ("post", 8, 1)]
    model, other = build(plan, seed=3), build(plan, seed=4)
    images, labels = images_for(model, 12)
    net = decompose(model, images[:4])
    given = Materials(net, reference=[(images, labels)], sources={"other": other})
    module = lesioned_module(net, lesion, given)
    program = torch.export.export(module, (images[:2],), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images[:2]), module(images[:2]))


def test_rows_of_any_number_after_an_export() -> None:
    model = decomposable()
    images, _ = images_for(model, 7)
    module = lesioned_module(decompose(model, images), Duplicate((4,)))
    rows = torch.export.Dim("rows", min=1, max=64)
    program = torch.export.export(module, (images[:3],), dynamic_shapes={"inputs": ({0: rows},)})
    torch.testing.assert_close(program.module()(images), module(images))


def test_noise_is_refused() -> None:
    model = decomposable()
    images, _ = images_for(model, 4)
    net = decompose(model, images)
    with pytest.raises(LesionError, match=r"noise 2 s0.1 seed0: the noise belongs to the obs"):
        lesioned_module(net, Noise((2,), 0.1))
    with pytest.raises(LesionError, match=r"reference data are needed"):
        net.lesioned(MeanBranch((2,)))
    assert isinstance(net.lesioned(Parallel((4,))), nn.Module)


class TwoInputs(nn.Module):
    """A table beside an image, and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.table = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(5, 4)
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        x = self.image(image).mean((2, 3)) + self.table(table)
        x = x + self.one(x).relu()
        x = x + self.two(x).relu()
        return self.head(x)


@pytest.mark.parametrize("named", [False, True])
def test_several_inputs(named: bool) -> None:
    model = TwoInputs().eval()
    image, table = torch.randn(4, 3, 5, 5), torch.randn(4, 5)
    inputs = {"image": image, "table": table} if named else (image, table)
    net = decompose(model, inputs)
    module = lesioned_module(net, Intact())
    with torch.no_grad():
        found = module(**inputs) if named else module(*inputs)
        torch.testing.assert_close(found, model(image, table))
        torch.testing.assert_close(module(inputs), model(image, table))


class _OfItsOwnType(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x.to(self.layer.weight.dtype)).tanh().float()


def test_weights_of_several_types_that_cannot_be_one_are_named() -> None:
    kinds = (torch.bfloat16, torch.float32)
    model = nn.Sequential(
        nn.Linear(6, 8), *[_OfItsOwnType(kind) for kind in kinds], nn.Linear(8, 3)
    ).eval()
    rows, labels = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    net = decompose(model, rows)
    assert torch.equal(net(rows), model(rows))
    line = r"weights of bfloat16 and float32; brought to one type it fails \(.+\); give it with"
    for work in (
        lambda: ensembles.lesion(net, [(rows, labels)]),
        lambda: ensembles.analyze(net, [(rows, labels)], "influence"),
    ):
        with pytest.raises(UsageError, match=line):
            work()
    with pytest.raises(PathError, match=r"fails on a row of float\d\d \(.+\); expected"):
        ensembles.paths(net, [(rows, labels)])
