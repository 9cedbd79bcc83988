"""Blocks whose weights are drawn anew, or permuted."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ensembles.errors import LesionError
from ensembles.lesions.base import Words, setting
from ensembles.lesions.block_set import Variation
from ensembles.lesions.draws import hashed
from ensembles.lesions.initializers import draw_again
from ensembles.lesions.steps import Aspect, Recipe
from ensembles.lesions.structure import Form, Structure
from ensembles.lesions.tokens import SEED, Mark, seed_number

if TYPE_CHECKING:
    from ensembles.decomposition import Block
    from ensembles.engine.materials import Materials

__all__ = ["Randomize"]

How = Literal["init", "permute"]
_HOW = ("init", "permute")


@dataclass(frozen=True)
class Randomize(Variation):
    """Give the branch fresh weights (Zhang, Bengio, Singer, JMLR 2022; Gavrikov 2024, 2410.14470).

    Of a block without a shortcut, all weights. BatchNorm keeps its trained statistics.

    Attributes:
        seed: Seed of the weights.
        how: "init" for the modules' own initialisation, "permute" for the trained weights of each
            tensor in random order.

    >>> Randomize((4,), seed=3, how="permute").text
    '4 seed3 permute'
    """

    seed: int = setting("Seed of the weights.", 0)
    how: str = setting(
        "The modules' own initialisation, or the trained weights permuted.", "init", choices=_HOW
    )

    kind: ClassVar[str] = "randomize"
    summary: ClassVar[str] = "the branch has fresh weights, or its own permuted"
    words: ClassVar[Words] = Words("Randomized block", "Number of randomized blocks", "randomized")
    example: ClassVar[str] = "blocks and a seed such as 4 seed3, or 4 seed3 permute"
    forms: ClassVar[Sequence[Mark]] = (
        SEED,
        Mark("how", re.compile(f"({'|'.join(_HOW)})"), str),
    )
    needs_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "seed", seed_number(self.kind, self.seed))
        if self.how not in _HOW:
            raise LesionError(f"randomize: how {self.how!r}; expected {' or '.join(_HOW)}")

    @property
    def marks(self) -> tuple[str, ...]:
        """The seed and, where it is not the usual one, the way."""
        return (f"seed{self.seed}", *([] if self.how == "init" else [self.how]))

    def check_block(self, form: Form, structure: Structure) -> None:
        """Refuse a block without weights, or with weights that no module can draw."""
        super().check_block(form, structure)
        if self.how == "init" and form.undrawn:
            raise LesionError(
                f"randomize of {form.label}: {form.undrawn} belongs to no module that knows how to "
                'draw it; permute the trained weights instead, how="permute"'
            )

    def recipe(self, block: int) -> Recipe:
        """Draw or permute the weights."""
        return _Permuted(self.seed) if self.how == "permute" else _Fresh(self.seed)


@dataclass(frozen=True)
class _Fresh(Recipe):
    seed: int

    aspect: ClassVar[Aspect] = "weights"
    unclear_after: ClassVar[tuple[Aspect, ...]] = ("constant",)

    @property
    def text(self) -> str:
        return f"randomize seed{self.seed}"

    def variant(self, block: Block, materials: Materials) -> Block:
        import torch  # noqa: PLC0415 (only where a recipe is carried out)

        home = next(block.branch.parameters()).device
        branch = copy.deepcopy(block.branch).cpu()
        statistics = {name: value.clone() for name, value in branch.named_buffers()}
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(hashed("randomize", self.seed, block.index))
            draw_again(branch)
            for name, value in branch.named_buffers():
                value.copy_(statistics[name])
        return block.with_branch(branch.to(home))


@dataclass(frozen=True)
class _Permuted(Recipe):
    seed: int

    aspect: ClassVar[Aspect] = "weights"
    unclear_after: ClassVar[tuple[Aspect, ...]] = ("constant",)

    @property
    def text(self) -> str:
        return f"randomize seed{self.seed} permute"

    def variant(self, block: Block, materials: Materials) -> Block:
        import torch  # noqa: PLC0415 (only where a recipe is carried out)

        branch = copy.deepcopy(block.branch)
        with torch.no_grad():
            for name, weight in branch.named_parameters():
                generator = torch.Generator().manual_seed(
                    hashed("permute", self.seed, block.index, name)
                )
                order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
                weight.copy_(weight.flatten()[order].view(weight.shape))
        return block.with_branch(branch)


MEMBER = Randomize
