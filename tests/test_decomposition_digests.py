"""Networks keep the digests that version 1 gave them, so that what is known of them is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import build
from test_decomposition_roads import seeded
from torch import nn

from ensembles.checkpoints import open_subject
from ensembles.decomposition import decompose
from ensembles.models.ensemble import Average
from ensembles.models.fractal import CifarFractalNet
from ensembles.models.highway import HighwayNetwork
from ensembles.models.rir import CifarRiR
from ensembles.store.fingerprints import architecture_digest, weights_digest

PACKAGED = {
    "resnet110": (
        "f15a885d470ea6e74be22e52ed3c442f0b34d980fe0e3e0e832f7c5a123ece64",
        "6babe43ad43aafb6430648c6acb69050722fd7f9f48a4b7e428948fcf72f76ea",
    ),
    "preresnet110": (
        "5a13f71c974b1cb6567e1bbf5fa2d9f198fc86696e11c57ea5197427d692bca5",
        "c5bebadcfab3b8fdd5cbf62250bdbec5587a93892b26a251f4599575baf081cc",
    ),
    "vgg15": (
        "539013b006ce5efe543c122140d8c9a4193bab2781978355df2526a1f8931667",
        "070b2d24c73c9082eb74957ae9f7d08894420f61f92e1a5e3d20026f0321946e",
    ),
}
"""Digests of the weights and of the architecture, by version 1."""

SUMS = ("post", "bottleneck", "pre", "convnext", "three", "excite", "dense")
SMALL: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "sums": (
        lambda: build(
            [
                (kind, 8 if place > 1 else 6, 2 if place == 2 else 1)
                for place, kind in enumerate(SUMS)
            ]
        ),
        "19378f35cda76786a03517c14152929095aeebc4a8daadd082739af634de347f",
    ),
    "straight": (
        lambda: build([("inception", 8, 2), ("shuffle", 8, 1), ("plain", 6, 1)]),
        "b848778413a1e063144596f2d12dbf989f3c9ec43628901763b7cd7c9df5957d",
    ),
    "plain": (
        lambda: build([("plain", 8, 2), ("plain", 6, 1)]),
        "a017ed5d7004dee75fa075ba365d3030ed7d34af20a0a488e628094bc17a21f3",
    ),
    "tokens": (
        lambda: build([("attention", 0, 1), ("mixer", 0, 1)]),
        "6e7765b098584bf6f064be8028044318d28c4c5c8b143cdd40a94109d4ce38c2",
    ),
    "side": (
        lambda: build([("side", 0, 1)] * 2),
        "27e8d670c2e1698574aff109074cdd36af505857c9d701865e5ab6aa332d2b27",
    ),
    "highway": (
        lambda: HighwayNetwork((4, 6), (3, 2), hidden=4),
        "9da05ede2419a6c9cc14512005e8c3643ce8fbee3e815ba9f1fb451ab64c58eb",
    ),
    "streams": (
        lambda: CifarRiR((4, 6), (2, 1)),
        "0ed3db81c1043197052bc0b09f4213997a6fceadb70cd7d34d7860aed270a773",
    ),
    "fractal": (
        lambda: CifarFractalNet((4, 6), 2),
        "341275dd658e9813567e4727d7ae6b1c59d348faa46d83d953c2569e5cf48b93",
    ),
    "members": (
        lambda: Average([CifarFractalNet((4,), 1) for _ in range(2)]),
        "5967aea3e7cdc4e3cd692e7c2bf6871a2839045b06b7e0dc91156c315c52186c",
    ),
}
"""Networks of every kind of block, and the digests of their architectures."""


@pytest.mark.parametrize("name", SMALL)
def test_every_kind_of_block(name: str) -> None:
    make, digest = SMALL[name]
    net = decompose(seeded(make), torch.randn(2, 3, 8, 8))
    assert architecture_digest(net) == digest


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_networks(name: str) -> None:
    net = open_subject(name, None, dataset="digits", check=False).net
    assert (weights_digest(net), architecture_digest(net)) == PACKAGED[name]
