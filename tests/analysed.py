"""A network with images, taken apart, for tests of analyses."""

from __future__ import annotations

from networks import build, images_for
from torch import Tensor

from ensembles.decomposition import Decomposition, decompose

Subject = tuple[Decomposition, list[tuple[Tensor, Tensor]]]


def five_blocks() -> Subject:
    """Five residual blocks, one of them a transition, and twelve images in two batches."""
    plan = [("post", 6, 1), ("pre", 6, 1), ("post", 8, 2), ("convnext", 8, 1), ("post", 8, 1)]
    model = build(plan, seed=1)
    images, labels = images_for(model, 12)
    return decompose(model, images), [(images[:7], labels[:7]), (images[7:], labels[7:])]
