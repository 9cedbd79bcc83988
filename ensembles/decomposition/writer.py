"""How a block says what it computes, whoever reads it: a run, or a compiler.

A block writes its parts and how they are joined to a writer. The writer here runs them as it reads
them; the engine's writer makes one graph of them instead. So there is one account of each kind of
block, and both follow it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

__all__ = ["RUN", "Bound", "Writer", "Written"]

Node = TypeVar("Node")


class Writer(Protocol[Node]):
    """Takes down what a module computes.

    A node stands for a tensor: it is one where a block is run, and a place in a graph where it is
    compiled.
    """

    def part(
        self, module: nn.Module | None, name: str, x: Node, beside: Sequence[Node] = ()
    ) -> Node:
        """A part of the module that is written, applied to a tensor.

        Args:
            module: The part; None for the identity.
            name: Where the module that is written holds it, such as "branch".
            x: What it reads.
            beside: What it reads beside that, such as a mask.
        """

    def add(self, made: Node, other: Node, *, alike: bool = False) -> Node:
        """A sum.

        Args:
            made: What a branch made.
            other: What is added to it.
            alike: Whether both have one shape, so that the sum may take the place of what was made.
        """

    def call(self, function: Callable[..., Any], *args: Any) -> Node:
        """A function without side effects, of nodes, lists of nodes, and numbers."""


class _Run:
    """The writer whose nodes are tensors: it computes what it is given."""

    def part(
        self, module: nn.Module | None, name: str, x: Tensor, beside: Sequence[Any] = ()
    ) -> Tensor:
        """Run a part."""
        out: Tensor = x if module is None else module(x, *beside)
        return out

    def add(self, made: Tensor, other: Tensor, *, alike: bool = False) -> Tensor:
        """Add, to a tensor of its own."""
        return made + other

    def call(self, function: Callable[..., Any], *args: Any) -> Tensor:
        """Call a function."""
        out: Tensor = function(*args)
        return out


RUN = _Run()


class Written(nn.Module):
    """A part of a block that says itself what it computes, so that compilers can look into it."""

    @abstractmethod
    def write(self, writer: Writer[Node], name: str, x: Node, beside: Sequence[Node] = ()) -> Node:
        """Write what the part computes.

        Args:
            writer: Takes it down.
            name: Where the module that is written holds this part.
            x: What it reads.
            beside: What it reads beside that.
        """

    def forward(self, x: Tensor, *beside: Any) -> Tensor:
        """Run it."""
        out: Tensor = self.write(RUN, "", x, beside)
        return out


class Bound(nn.Module):
    """A part that reads other tensors beside its input, with these held at some values.

    Args:
        part: The part.
        beside: The values.
    """

    def __init__(self, part: nn.Module, beside: Sequence[Any]) -> None:
        super().__init__()
        self.part, self.beside = part, tuple(beside)

    def forward(self, x: Tensor) -> Tensor:
        """What the part makes of its input and these."""
        out: Tensor = self.part(x, *self.beside)
        return out
