"""Blocks whose weights are as they were before training."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Words
from ensembles.lesions.block_set import Variation
from ensembles.lesions.needs import Initial, Need
from ensembles.lesions.steps import Aspect, Recipe

if TYPE_CHECKING:
    from ensembles.decomposition import Block
    from ensembles.engine.materials import Materials

__all__ = ["Reset"]


@dataclass(frozen=True)
class Reset(Variation):
    """Give the branch the weights that it had before training (Zhang, Bengio, Singer, JMLR 2022).

    Of a block without a shortcut, all weights. BatchNorm keeps its trained statistics.
    """

    kind: ClassVar[str] = "reset"
    summary: ClassVar[str] = "the branch has its weights of before training"
    words: ClassVar[Words] = Words("Reset block", "Number of reset blocks", "reset")
    needs_weights: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[Need, ...]:
        """The network as it was before training."""
        return (Initial(),)

    def recipe(self, block: int) -> Recipe:
        """Take the weights from there."""
        return _Reset()


@dataclass(frozen=True)
class _Reset(Recipe):
    aspect: ClassVar[Aspect] = "weights"
    unclear_after: ClassVar[tuple[Aspect, ...]] = ("whole", "constant", "block")

    @property
    def text(self) -> str:
        return "reset"

    def variant(self, block: Block, materials: Materials) -> Block:
        import torch  # noqa: PLC0415 (only where a recipe is carried out)

        initial = materials.other(Initial()).block(block.index)
        branch = copy.deepcopy(block.branch)
        weights, before = list(branch.parameters()), list(initial.branch.parameters())
        if [one.shape for one in weights] != [one.shape for one in before]:
            raise LesionError(
                f"reset of {block.label}: the initial network has other weights there; give one of "
                "the same architecture"
            )
        with torch.no_grad():
            for one, other in zip(weights, before, strict=True):
                one.copy_(other)
        return block.with_branch(branch)


MEMBER = Reset
