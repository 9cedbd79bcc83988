"""The one loop over the blocks of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn

from ensembles.decomposition.blocks import Block

__all__ = ["Parts", "Visit", "last_output", "walk"]

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
    run: Callable[[Block, Tensor], Tensor] | None = None,
    between: Callable[[nn.Module, Any], Tensor] | None = None,
) -> Iterator[Visit]:
    """Run a network up to its head, block by block.

    What stands between two blocks is run before the second; it is no part of a block.

    Args:
        net: The network.
        inputs: What the stem takes.
        run: Runs a block on its input; by default the block as it is. What it returns is the
            block's output and reaches the next one.
        between: Runs the stem, and what stands before a block; by default calls them.

    Yields:
        Each block with its own input and output. The head of the last output are the logits.
    """
    x: Tensor = net.stem(inputs) if between is None else between(net.stem, inputs)
    for block in net:
        if block.before is not None:
            x = block.before(x) if between is None else between(block.before, x)
        output: Tensor = block(x) if run is None else run(block, x)
        yield block, x, output
        x = output


def last_output(visits: Iterable[Visit]) -> Tensor:
    """Walk to the end: the output of the last block."""
    for _, x, output in visits:
        del x  # the next block runs without it
        last = output
    return last
