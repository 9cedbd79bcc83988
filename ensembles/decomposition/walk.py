"""The one loop over the blocks of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn

from ensembles.decomposition.blocks import Block
from ensembles.decomposition.state import State, own, run_block

__all__ = ["Parts", "Visit", "last_output", "states", "walk"]

Visit: TypeAlias = "tuple[Block, Tensor, Tensor]"
"""A block, its input, and its output."""


class Parts(Protocol):
    """What is walked along: a decomposed network."""

    @property
    def stem(self) -> nn.Module:
        """What comes before the first block."""

    def __iter__(self) -> Iterator[Block]: ...


def walk(
    net: Parts,
    inputs: Any,
    run: Callable[[Block, Any], Any] | None = None,
    between: Callable[[nn.Module, Any], Any] | None = None,
) -> Iterator[Visit]:
    """Run a network up to its head, block by block.

    What stands between two blocks is run before the second; it is no part of a block. Where several
    tensors are alive between blocks, `run` and `between` are given a state
    (:class:`~ensembles.decomposition.state.State`) and return one.

    Args:
        net: The network.
        inputs: What the stem takes.
        run: Runs a block on its input; by default the block as it is. What it returns is the
            block's output and reaches the next one.
        between: Runs the stem, and what stands before a block; by default calls them.

    Yields:
        Each block with its own input and output; a block that reads other tensors beside its input
        has them bound in it.
    """
    for block, x, output in states(net, inputs, run, between):
        if isinstance(x, State):
            yield block.bound(x.beside(block.reads)), x.x, own(output)
        else:
            yield block, x, output


def states(
    net: Parts,
    inputs: Any,
    run: Callable[[Block, Any], Any] | None = None,
    between: Callable[[nn.Module, Any], Any] | None = None,
) -> Iterator[tuple[Block, Any, Any]]:
    """Run a network as :func:`walk` does; each block with what is alive before and after it.

    The head of the last are the logits.
    """
    run, between = run or run_block, between or _called
    x = between(net.stem, inputs)
    for block in net:
        if block.before is not None:
            x = between(block.before, x)
        output = run(block, x)
        yield block, x, output
        x = output


def _called(part: nn.Module, x: Any) -> Any:
    return part(x)


def last_output(visits: Iterable[tuple[Block, Any, Any]]) -> Any:
    """Walk to the end: the output of the last block, or the state after it."""
    for _, x, output in visits:
        del x  # the next block runs without it
        last = output
    return last
