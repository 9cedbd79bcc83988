"""What a network with nested blocks, or with inputs that are read late, passes from block to block.

In a chain one tensor is alive between two blocks. Where blocks stand beside or inside each other,
or all read a mask, several are: the next block's own input, and others that are carried past it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from ensembles.decomposition.blocks import Block
from ensembles.decomposition.inputs import Inputs
from ensembles.decomposition.layouts import PLAIN, Layout
from ensembles.errors import LesionError

__all__ = [
    "OWN", "Closing", "OnState", "Opening", "Passage", "State", "leaves", "own", "real_tensors",
    "run_block", "without_branch",
]  # fmt: skip

OWN = "\0"
"""Stands for what a block reads and replaces, among names of which one may be empty (the input)."""


@dataclass(frozen=True)
class State:
    """The tensors that are alive between two blocks.

    Attributes:
        x: What the next block reads and replaces.
        carried: What is carried past it, by name.
    """

    x: Tensor
    carried: Mapping[str, Any]

    def beside(self, reads: Iterable[str]) -> tuple[Any, ...]:
        """What a block reads beside its input."""
        try:
            return tuple(self.carried[name] for name in reads)
        except KeyError as error:
            raise LesionError(
                f"a block reads {error} beside its input, which is not there where it runs; "
                "leave it at its place"
            ) from error

    def with_x(self, x: Tensor) -> State:
        """The state after a block."""
        return State(x, self.carried)


def real_tensors(x: Any) -> list[Tensor]:
    """The tensors of real numbers of a state, each once, or a tensor."""
    held = [x.x, *x.carried.values()] if isinstance(x, State) else [x]
    real = [one for one in held if isinstance(one, Tensor) and one.is_floating_point()]
    return list({id(one): one for one in real}.values())


def leaves(x: Any) -> Any:
    """A tensor or a state by which derivatives can be taken, apart from what made it."""
    made = {id(one): one.detach().requires_grad_() for one in real_tensors(x)}
    if not isinstance(x, State):
        return made[id(x)]
    carried = {name: made.get(id(one), one) for name, one in x.carried.items()}
    return State(made.get(id(x.x), x.x), carried)


def own(x: Any) -> Any:
    """The tensor that a block reads, of a state or by itself."""
    return x.x if isinstance(x, State) else x


class OnState(nn.Module):
    """A module of a block's input, and of what it reads beside it, on a state.

    Args:
        module: The module.
        reads: Names of what it reads beside the input.
    """

    def __init__(self, module: nn.Module, reads: Sequence[str]) -> None:
        super().__init__()
        self.module, self.reads = module, tuple(reads)

    def forward(self, state: State) -> State:
        """The state with what the module makes."""
        return state.with_x(self.module(state.x, *state.beside(self.reads)))


class _Between(nn.Module):
    """Computes what is alive next, from what is alive.

    Attributes:
        takes: Names of what the graph reads, in order.
        makes: Names of what it computes, in order.
        keeps: Names of what is carried on, in order.
        entry: Name of what the next block reads.
        computed: The graph; None where nothing is computed.
        layouts: Where the images are in what is alive after it, by name; dimension 0 by default.
    """

    def __init__(
        self,
        takes: Sequence[str],
        makes: Sequence[str],
        keeps: Sequence[str],
        entry: str,
        computed: fx.GraphModule | None,
    ) -> None:
        super().__init__()
        self.takes, self.makes, self.keeps = tuple(takes), tuple(makes), tuple(keeps)
        self.entry, self.computed = entry, computed
        self.layouts: Mapping[str, Layout] = {}

    @property
    def orders(self) -> dict[str, Layout]:
        """Where the images are in the tensors of a state, the next block's input under `OWN`."""
        carried = {name: self.layouts.get(name, PLAIN) for name in self.keeps}
        return {**carried, OWN: self.layouts.get(self.entry, PLAIN)}

    def _next(self, alive: Mapping[str, Any]) -> State:
        known = dict(alive)
        if self.computed is not None:
            made = self.computed(*[alive[name] for name in self.takes])
            known.update(zip(self.makes, made, strict=True))
        return State(known[self.entry], {name: known[name] for name in self.keeps})


class Opening(_Between):
    """What comes before the first block: from the inputs to a state."""

    def forward(self, inputs: Inputs) -> State:
        """The state before the first block."""
        return self._next({"": inputs})


class Passage(_Between):
    """What stands between two blocks.

    Args:
        takes: Names of what the graph reads, in order.
        makes: Names of what it computes, in order.
        keeps: Names of what is carried on, in order.
        entry: Name of what the next block reads.
        computed: The graph; None where nothing is computed.
        left: Name of what the last block left.
    """

    def __init__(
        self,
        takes: Sequence[str],
        makes: Sequence[str],
        keeps: Sequence[str],
        entry: str,
        computed: fx.GraphModule | None,
        *,
        left: str,
    ) -> None:
        super().__init__(takes, makes, keeps, entry, computed)
        self.left = left

    @property
    def is_idle(self) -> bool:
        """Whether the next block reads what the last one left, and nothing is computed."""
        return self.computed is None and self.entry == self.left

    @property
    def follows(self) -> bool:
        """Whether the next block reads what the last one left, or what is made of it."""
        return self.entry == self.left or (self.entry in self.makes and self.left in self.takes)

    def forward(self, state: State) -> State:
        """The state before the next block."""
        return self._next({**state.carried, self.left: state.x})


class Closing(nn.Module):
    """What comes after the last block: from a state to the logits.

    Args:
        takes: Names of what the graph reads, in order.
        computed: The graph.
        left: Name of what the last block left.
    """

    def __init__(self, takes: Sequence[str], computed: fx.GraphModule, left: str) -> None:
        super().__init__()
        self.takes, self.computed, self.left = tuple(takes), computed, left

    def forward(self, state: State) -> Tensor:
        """The logits."""
        alive = {**state.carried, self.left: state.x}
        out: Tensor
        (out,) = self.computed(*[alive[name] for name in self.takes])
        return out


def run_block(block: Block, x: Any) -> Any:
    """Run a block on a tensor or on a state."""
    if isinstance(x, State):
        return x.with_x(block(x.x, *x.beside(block.reads)))
    return block(x)


def without_branch(block: Block, x: Any) -> Any:
    """What a block gives without its branch, on a tensor or on a state."""
    if isinstance(x, State):
        return x.with_x(block.deleted(x.x, *x.beside(block.reads)))
    return block.deleted(x)
