"""What lesions ask of a network before anything runs, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from ensembles.errors import LesionError
from ensembles.lesions.initializers import undrawn
from ensembles.lesions.steps import Beside, Bypass, Program, Without

if TYPE_CHECKING:
    from ensembles.decomposition import Decomposition

__all__ = ["Form", "Shape", "Structure", "arrow", "exchangeable", "require_flow"]

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
        prepared: Whether something stands before both branch and shortcut (BN and ReLU of a
            pre-activation transition).
        weights: Whether its branch has weights.
        undrawn: Name of a weight of its branch that belongs to no module that can draw it anew.
        reads: Names of what it reads beside its input.
        alive: Names of what can be read where it stands.
        holds: Numbers of the blocks that lie within its branch.
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
    prepared: bool = False
    weights: bool = True
    undrawn: str = ""
    reads: tuple[str, ...] = ()
    alive: tuple[str, ...] = ()
    holds: tuple[int, ...] = ()

    @property
    def keeps_shape(self) -> bool:
        """Whether input and output have one shape, so that it can run again."""
        return self.in_shape == self.out_shape

    @property
    def label(self) -> str:
        """The block in a message."""
        return f"block {self.index} ({self.name})"


def _nothing(block: int) -> Any:
    return 0


@dataclass(frozen=True)
class Structure:
    """The blocks of a network, in order.

    Attributes:
        forms: A form for each block.
        batch_norms: How many BatchNorm layers with running statistics the network has.
        sees: Tells which tokens of its window a block sees, by its number; false where it sees its
            own alone. Asked where a block runs at another's place.
    """

    forms: tuple[Form, ...]
    batch_norms: int = 0
    sees: Callable[[int], Any] = field(default=_nothing, compare=False, repr=False)

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
        fixed = [form.index for form in self.forms if form.transition or not form.ordered]
        shapes = [(form.in_shape, form.out_shape) for form in self.forms]
        groups = exchangeable(shapes, fixed)
        return tuple(part for group in groups for part in self._of_one_sight(group))

    def _of_one_sight(self, group: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """A group as it is, or parts of it where some see other tokens than others do."""
        sights = {block: self.sees(block) for block in group}
        if len({sight for sight in sights.values() if sight}) < 2:
            return (tuple(group),)
        parts: dict[Any, list[int]] = {}
        for block, sight in sights.items():
            parts.setdefault(sight, []).append(block)
        return tuple(tuple(part) for part in parts.values() if len(part) > 1)

    def require_one_sight(self, what: str, one: int, other: int) -> None:
        """Refuse that a block runs where another sees other tokens of its window.

        Args:
            what: The lesion, for messages.
            one: Number of a block.
            other: Number of the other.

        Raises:
            LesionError: If one has sliding attention and the other full, or of another length.
        """
        sights = self.sees(one), self.sees(other)
        if not all(sights) or sights[0] == sights[1]:
            return
        told = " and ".join(
            f"{self.form(block).label} {_sight(sight)}"
            for block, sight in zip((one, other), sights, strict=True)
        )
        raise LesionError(
            f"{what}: {told}; blocks of sliding attention change places among themselves, those of "
            "full attention too"
        )

    @property
    def roads(self) -> tuple[int, ...]:
        """How many branches meet in each block that can be left out one by one."""
        return tuple(form.roads for form in self.forms)

    def require_roads(self, block: int, roads: Collection[int] = ()) -> None:
        """Refuse a block without branches to leave out, or such that it has not, or all of them.

        Args:
            block: The block.
            roads: Numbers of the branches that are left out, from 1.

        Raises:
            LesionError: Naming the block or the branch.
        """
        form = self.form(block)
        if not form.roads:
            raise LesionError(
                f"{form.label} is {form.kind} and has no branches to drop one of; delete the block"
            )
        for road in roads:
            if not 1 <= road <= form.roads:
                raise LesionError(
                    f"branch {block}.{road}: {form.label} has branches 1 to {form.roads}"
                )
        if len(set(roads)) == form.roads:
            raise LesionError(
                f"all {form.roads} branches of {form.label} are dropped; leave one, or delete "
                "the block"
            )

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
                passage=block.has_passage,
                closed=block.is_closed,
                prepared=block.pre is not None,
                weights=any(True for _ in block.branch.parameters()),
                undrawn=undrawn(block.branch),
                reads=block.reads,
                alive=net.alive(block.index),
                holds=block.holds,
            )
            for block in net
        )
        return cls(forms, net.batch_norms, net.sees)


def arrow(form: Form) -> str:
    """What a block does to the shape, in a message: ``16x32x32 to 32x16x16``."""
    return f"{_times(form.in_shape)} to {_times(form.out_shape)}"


def exchangeable(
    shapes: Sequence[tuple[Shape, Shape]], transitions: Collection[int] = ()
) -> tuple[tuple[int, ...], ...]:
    """Group the blocks that can change places: equal shapes, no transitions.

    Args:
        shapes: Shape of the input and the output of each block, without the batch dimension.
        transitions: Numbers of the blocks whose shortcut is not the identity.

    Returns:
        Groups of two block numbers or more, in the order of their first block.

    >>> exchangeable([((8,), (8,)), ((8,), (4,)), ((8,), (8,))], transitions=[2])
    ((1, 3),)
    """
    groups: dict[tuple[Shape, Shape], list[int]] = {}
    for block, shape in enumerate(shapes, start=1):
        if block not in transitions:
            groups.setdefault(shape, []).append(block)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def require_flow(what: str, program: Program, structure: Structure) -> None:
    """Refuse a program in which something would meet another shape than its own, or nothing runs.

    Args:
        what: The lesion, for messages.
        program: What would run.
        structure: On which network.

    Raises:
        LesionError: Naming the first block that does not fit.
    """
    forms = structure.forms
    flow = _Flow(what, forms[0].in_shape if forms else ())
    for form, steps in zip(forms, program, strict=True):
        if form.passage:
            before = forms[form.index - 2].out_shape if form.index > 1 else form.in_shape
            flow.meet(before, f"what stands before {form.label}")
            flow.shape = form.in_shape
        for step in steps:
            for part in step.parts if isinstance(step, Beside) else (step,):
                met = structure.form(part.block)
                if isinstance(part, Without):
                    structure.require_roads(part.block, part.roads)
                _require_at_home(what, met, form, alone=len(steps) == 1)
                if met.index != form.index:
                    structure.require_one_sight(what, met.index, form.index)
                flow.meet(met.in_shape, met)
            flow.shape, flow.last = met.out_shape, met
    if forms:
        flow.meet(forms[-1].out_shape, "the head")
    averaged = bool(forms) and not any(form.ordered for form in forms)
    if averaged and all(isinstance(step, Bypass) for steps in program for step in steps):
        raise LesionError(
            f"{what}: deleting all {len(forms)} members leaves nothing to average; leave one"
        )


def _require_at_home(what: str, met: Form, place: Form, *, alone: bool) -> None:
    """Refuse a block where what it reads beside its input is not, and one that holds others."""
    if met.index == place.index and alone:
        return
    if met.holds or place.holds:
        one = met if met.holds else place
        held = ", ".join(map(str, one.holds))
        raise LesionError(
            f"{what}: {one.label} holds others within its branch ({held}), which neither move nor "
            "run again with it; choose blocks that hold none"
        )
    lacking = [name for name in met.reads if name not in place.alive]
    if lacking:
        raise LesionError(
            f"{what}: {met.label} reads {lacking[0]} beside its input, which there is not at the "
            f"place of {place.label}; choose blocks that read the same"
        )


@dataclass
class _Flow:
    """The shape on its way through a program.

    Attributes:
        what: The lesion, for messages.
        shape: The shape that was left.
        last: The block that left it; None for what comes before all blocks.
    """

    what: str
    shape: Shape
    last: Form | None = None

    def meet(self, expected: Shape, reader: Form | str) -> None:
        """Refuse that something reads another shape than was left."""
        if self.shape != expected:
            last = "the stem" if self.last is None else self.last.label
            name = reader if isinstance(reader, str) else f"{reader.label} ({arrow(reader)})"
            raise LesionError(
                f"{self.what}: {name} reads the shape {_times(expected)}, but would meet "
                f"{_times(self.shape)} after {last}; choose blocks of equal shape"
            )


def _sight(sight: Any) -> str:
    if isinstance(sight, int):
        return f"looks back over {sight} token{'' if sight == 1 else 's'}"
    return f"reads {', '.join(sight)}"


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape))
