"""Paths where what stands between blocks turns a cube: the same shape, in other places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ensembles


class Turned(nn.Module):
    """Residual blocks of 4 x 4 x 4 numbers, turned before, in and after them."""

    def __init__(self, where: str, *, copied: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.where, self.copied = where, copied
        self.stem = nn.Conv2d(3, 4, 1)
        self.first, self.second = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(64, 5)

    def turned(self, x: Tensor, where: str) -> Tensor:
        if where != self.where:
            return x
        made = x.permute(0, 2, 3, 1)
        return made.clone(memory_format=torch.contiguous_format) if self.copied else made

    def block(self, x: Tensor, layer: nn.Module) -> Tensor:
        x = self.turned(x, "before")
        around = self.turned(x, "shortcut")
        added = self.turned(torch.tanh(layer(x)), "branch")
        return self.turned(around + added, "after")

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.block(self.stem(x), self.first), self.second)
        logits: Tensor = self.head(x.flatten(1))
        return logits


@pytest.mark.parametrize("where", ["before", "shortcut", "branch", "after"])
def test_turned_in_place_or_copied_paths_are_the_same(where: str) -> None:
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(3, 3, 4, 4, generator=generator), torch.tensor([0, 3, 1])
    found: list[Any] = []
    for copied in (False, True):
        net = ensembles.decompose(Turned(where, copied=copied).eval(), images)
        for options in (
            {"direction": "logits"},
            {"method": "all", "samples": 12, "signs": 8},
            {"method": "sampled", "samples": 12},
        ):
            table = ensembles.paths(
                net, [(images, labels)], images=3, device="cpu", progress=False, **options
            )
            found.append(table.select_dtypes("number").to_numpy(float))
    for view, copy in zip(found[:3], found[3:], strict=True):
        np.testing.assert_allclose(view, copy, rtol=1e-5)
