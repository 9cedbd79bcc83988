"""Blocks that run with the branch of another block."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Draw, Words, setting
from ensembles.lesions.block_set import Variation
from ensembles.lesions.steps import Aspect, Recipe
from ensembles.lesions.structure import Form, Structure, arrow
from ensembles.lesions.tokens import whole

if TYPE_CHECKING:
    from typing_extensions import Self

    from ensembles.decomposition import Block
    from ensembles.engine.materials import Materials
    from ensembles.lesions.choice import Choice

__all__ = ["Replace"]

_PAIR = re.compile(r"([0-9]{1,18})\s*<-\s*([0-9]{1,18})(?:\s+|$)", re.ASCII)


@dataclass(frozen=True)
class Replace(Variation):
    """Run another block's branch also at a block's place (arXiv 2605.16234).

    Of a block without a shortcut, the whole block. The branch is the trained one of the other
    block; the shortcut, what follows the sum, and what both branch and shortcut begin after (the
    first BatchNorm and ReLU of a pre-activation transition) stay those of the place.

    Attributes:
        blocks: The places, one or several.
        by: The block whose branch comes to each place, in the order of the places given.

    >>> Replace(5, by=6).text
    '5<-6'
    >>> Replace((7, 5), by=(8, 6)).text
    '5<-6 7<-8'
    """

    by: int | tuple[int, ...] | None = setting(
        "The block whose branch comes in place; by default a neighbour of equal shape.", None
    )

    kind: ClassVar[str] = "replace"
    summary: ClassVar[str] = "the branch of another block runs in place of its own"
    words: ClassVar[Words] = Words("Replaced block", "Number of replaced blocks", "replaced")
    example: ClassVar[str] = "places and blocks such as 5<-6"

    if TYPE_CHECKING:  # one place and one block come without brackets too

        def __init__(
            self,
            blocks: int | tuple[int, ...],
            by: int | tuple[int, ...] | None = None,
            *,
            draw: Draw | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        blocks = _numbers(self.blocks)
        if self.by is None:
            raise LesionError(
                f"replace of {self.blocks!r}: expected the block whose branch comes in place, such "
                "as by=6"
            )
        by = _numbers(self.by)
        if len(by) != len(blocks):
            raise LesionError(
                f"replace: {len(blocks)} places and {len(by)} blocks; name one block for each place"
            )
        super().__post_init__()
        pairs = sorted(zip(blocks, by, strict=True))
        object.__setattr__(self, "by", tuple(other for _, other in pairs))
        if min(by) < 1:
            raise LesionError(f"block {min(by)}: blocks are numbered from 1")

    @property
    def pairs(self) -> dict[int, int]:
        """The block whose branch comes to each place."""
        assert isinstance(self.by, tuple)
        return dict(zip(self.blocks, self.by, strict=True))

    @property
    def text(self) -> str:
        """The pairs, as ``"5<-6"``."""
        return " ".join(f"{block}<-{other}" for block, other in self.pairs.items())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back."""
        rest, pairs = text.strip(), list[tuple[int, int]]()
        while rest:
            match = _PAIR.match(rest)
            if match is None:
                raise LesionError(f"blocks {rest!r}: replace expects {cls.example}")
            pairs.append((int(match.group(1)), int(match.group(2))))
            rest = rest[match.end() :]
        return cls(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))

    def described(self, names: Sequence[str]) -> str:
        """The modules of each pair."""
        return " ".join(f"{names[a - 1]}<-{names[b - 1]}" for a, b in self.pairs.items())

    def check_block(self, form: Form, structure: Structure) -> None:
        """Refuse a branch of another kind, of other shapes, or of another form of transition."""
        other = structure.form(self.pairs[form.index])
        pair = f"replace {form.index}<-{other.index}"
        if other is form:
            raise LesionError(f"{pair}: {form.label} has that branch already; name another block")
        if form.kind != other.kind:
            raise LesionError(
                f"{pair}: {form.label} is {form.kind}, {other.label} {other.kind}; choose blocks "
                "of one kind"
            )
        if (form.in_shape, form.out_shape) != (other.in_shape, other.out_shape):
            raise LesionError(
                f"{pair}: {form.label} maps {arrow(form)}, {other.label} {arrow(other)}; choose "
                "blocks of equal shape"
            )
        if form.holds or other.holds or form.reads != other.reads:
            raise LesionError(
                f"{pair}: {form.label} and {other.label} read other tensors beside their inputs "
                "or hold blocks within their branches; choose blocks that read the same"
            )
        structure.require_one_sight(pair, form.index, other.index)
        if (form.transition, form.prepared) != (other.transition, other.prepared):
            odd = form if form.transition else other
            raise LesionError(
                f"{pair}: {odd.label} is a transition of another form, so that the branches do not "
                "read the same; choose two blocks that are none"
            )

    def recipe(self, block: int) -> Recipe:
        """Put the other branch in place."""
        return _Replaced(self.pairs[block])

    @classmethod
    def made(
        cls, blocks: Sequence[int], structure: Structure, choice: Choice, trial: int | None = None
    ) -> Self:
        """The lesion of some blocks, each by the block that a choice names or by a neighbour."""
        by = choice.settings.get("by")
        others = tuple(_neighbour(structure, b) if by is None else by for b in blocks)
        lesion = cls(tuple(blocks), others)
        return lesion if trial is None else lesion.drawn(trial, choice.seed)


@dataclass(frozen=True)
class _Replaced(Recipe):
    by: int

    aspect: ClassVar[Aspect] = "whole"
    unclear_after: ClassVar[tuple[Aspect, ...]] = ("value", "weights", "whole", "constant")

    @property
    def text(self) -> str:
        return f"replace by {self.by}"

    def variant(self, block: Block, materials: Materials) -> Block:
        return block.with_branch(materials.net.block(self.by).branch)


def _neighbour(structure: Structure, block: int) -> int:
    """The next block, or the one before where that alone fits; the block itself if it is alone."""
    others = [other for other in (block + 1, block - 1) if 1 <= other <= len(structure)]
    for other in others:
        with suppress(LesionError):
            Replace(block, other).check(structure)
            return other
    return others[0] if others else block


def _numbers(blocks: Any) -> tuple[int, ...]:
    """Numbers as they are given, in their order."""
    each = [blocks] if isinstance(blocks, int) else blocks
    if isinstance(each, str) or not isinstance(each, Iterable):
        raise LesionError(f"replace: {blocks!r}; expected numbers of blocks, such as 5, by=6")
    return tuple(whole("replace: block", one) for one in each)


MEMBER = Replace
