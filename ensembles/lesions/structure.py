"""What lesions ask of a network before anything runs, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from ensembles.errors import LesionError

if TYPE_CHECKING:
    from ensembles.decomposition import Decomposition

__all__ = ["Form", "Shape", "Structure", "arrow"]

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Form:
    """What a lesion may ask of a block.

    Attributes:
        index: Its number, from 1.
        name: The module that it comes from.
        kind: Its kind, for messages.
        in_shape: Shape of its input, without the batch.
        out_shape: Shape of its output, without the batch.
        shortcut: Whether something leads around its branch.
        transition: Whether its shortcut is not the identity; without one, whether the shape
            changes.
        deletable: Whether something without parameters leads from its input shape to its output
            shape.
        ordered: Whether its place among the blocks means anything; that of a member of an average
            does not.
        roads: How many branches meet in it that can be left out one by one; 0 for none.
        passage: Whether something that is no block stands before it.
        closed: Whether weights follow the sum of branch and shortcut (a norm after the addition).
    """

    index: int
    name: str
    kind: str
    in_shape: Shape
    out_shape: Shape
    shortcut: bool = True
    transition: bool = False
    deletable: bool = True
    ordered: bool = True
    roads: int = 0
    passage: bool = False
    closed: bool = False

    @property
    def keeps_shape(self) -> bool:
        """Whether input and output have one shape, so that it can run again."""
        return self.in_shape == self.out_shape

    @property
    def label(self) -> str:
        """The block in a message."""
        return f"block {self.index} ({self.name})"


@dataclass(frozen=True)
class Structure:
    """The blocks of a network, in order.

    Attributes:
        forms: A form for each block.
        batch_norms: How many BatchNorm layers with running statistics the network has.
    """

    forms: tuple[Form, ...]
    batch_norms: int = 0

    def __len__(self) -> int:
        return len(self.forms)

    def form(self, block: int) -> Form:
        """The form of a block.

        Raises:
            LesionError: If there is no such block.
        """
        if not 1 <= block <= len(self):
            raise LesionError(f"block {block}: the network has blocks 1 to {len(self)}")
        return self.forms[block - 1]

    @cached_property
    def transitions(self) -> tuple[int, ...]:
        """Numbers of the blocks whose shortcut is not the identity."""
        return tuple(form.index for form in self.forms if form.transition)

    @cached_property
    def stages(self) -> tuple[tuple[int, ...], ...]:
        """Groups of two blocks or more that can change places: equal shapes, no transitions."""
        groups: dict[tuple[Shape, Shape], list[int]] = {}
        for form in self.forms:
            if not form.transition and form.ordered:
                groups.setdefault((form.in_shape, form.out_shape), []).append(form.index)
        return tuple(tuple(group) for group in groups.values() if len(group) > 1)

    @classmethod
    def of(cls, net: Decomposition) -> Structure:
        """The structure of a network that was taken apart."""
        forms = tuple(
            Form(
                index=block.index,
                name=block.name,
                kind=block.kind,
                in_shape=tuple(block.in_shape),
                out_shape=tuple(block.out_shape),
                shortcut=block.has_shortcut,
                transition=block.is_transition,
                deletable=block.deletable,
                ordered=block.ordered,
                roads=0 if block.roads is None else len(block.roads),
                passage=block.before is not None,
                closed=block.is_closed,
            )
            for block in net
        )
        return cls(forms, net.batch_norms)


def arrow(form: Form) -> str:
    """What a block does to the shape, in a message: ``16x32x32 to 32x16x16``."""
    return " to ".join("x".join(map(str, side)) for side in (form.in_shape, form.out_shape))
