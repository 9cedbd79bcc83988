"""A network whose activations hold images in dimension 0, whatever layout its model has."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ensembles.decomposition import Block, Decomposition
from ensembles.decomposition.layouts import Layout

__all__ = ["image_rows"]

_PARTS = ("before", "pre", "branch", "shortcut", "post", "gate")


class _ByImage(nn.Module):
    """A part that takes and gives one row for each image.

    Args:
        part: The part.
        before: The layout of what it takes.
        after: The layout of what it gives.
    """

    def __init__(self, part: nn.Module, before: Layout, after: Layout) -> None:
        super().__init__()
        self.part, self.before, self.after = part, before, after

    def forward(self, x: Tensor) -> Tensor:
        """Run the part (N, *shape)."""
        return self.after.by_image(self.part(self.before.as_it_was(x)))


def image_rows(net: Decomposition) -> Decomposition:
    """A network that computes the same with one row for each image between its parts.

    Args:
        net: The network; it is given back where its parts have such rows already, and where
            several tensors are alive between blocks.
    """
    if net.is_nested or not any(_has_layout(part) for part in net.modules()):
        return net
    twin = net.with_blocks(_block(block) for block in net)
    twin.stem, twin.head = _by_image(net.stem), _by_image(net.head)
    return twin


def _block(block: Block) -> Block:
    twin = block._twin()
    for name in _PARTS:
        part = getattr(block, name)
        if part is not None:
            setattr(twin, name, _by_image(part))
    twin.roads = None
    return twin


def _has_layout(part: nn.Module) -> bool:
    return "layouts" in getattr(part, "meta", {})


def _by_image(part: nn.Module) -> nn.Module:
    meta: Any = getattr(part, "meta", {})
    return _ByImage(part, *meta["layouts"]) if "layouts" in meta else part
