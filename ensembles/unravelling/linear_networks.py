"""A network at the activations of a batch of images, as first-order maps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ensembles.unravelling.maps import LinearMap

__all__ = ["LinearBlock", "Linearized"]


@dataclass(frozen=True)
class LinearBlock:
    """A block ``x -> post(shortcut(pre(x)) + branch(pre(x)))`` as first-order maps.

    Attributes:
        index: The block's number.
        before: What stands between the previous block and this one; None for the identity.
        pre: What branch and shortcut share.
        shortcut: What leads around the branch; None for the identity.
        branch: The branch; None for a block without a choice, whose one road is the shortcut.
        post: What follows the sum.
    """

    index: int
    before: LinearMap | None
    pre: LinearMap | None
    shortcut: LinearMap | None
    branch: LinearMap | None
    post: LinearMap | None

    def release(self) -> None:
        """Give back memory that its maps hold to pass rows."""
        for part in (self.before, self.pre, self.shortcut, self.branch, self.post):
            if part is not None:
                part.release()


@dataclass(frozen=True)
class Linearized:
    """The first-order maps of a network at N images.

    Attributes:
        images: The images (N, *input_shape).
        stem: Up to the first block.
        start: The first block's input (N, *shape).
        blocks: The blocks, in order.
        head: From the last block to the logits.
        logits: The network's logits (N, classes).
    """

    images: Tensor
    stem: LinearMap
    start: Tensor
    blocks: tuple[LinearBlock, ...]
    head: LinearMap
    logits: Tensor

    @property
    def choices(self) -> int:
        """Number of blocks at which a path chooses, n."""
        return sum(block.branch is not None for block in self.blocks)
