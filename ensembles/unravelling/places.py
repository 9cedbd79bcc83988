"""Where a gradient arrives: the images, a block's input, or a block's parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ensembles.decomposition import Decomposition
from ensembles.errors import UsageError
from ensembles.text import read_place

__all__ = ["Place", "parse_places"]


@dataclass(frozen=True)
class Place:
    """One place.

    Attributes:
        where: "input" (the images), "block" (a block's input), "output" (a block's output), or
            "parameters" (all parameters of a block).
        block: The block's number; 0 for the images.
    """

    where: Literal["input", "block", "output", "parameters"]
    block: int = 0

    @property
    def is_learned(self) -> bool:
        """Whether it is the parameters of a block."""
        return self.where == "parameters"

    @property
    def is_output(self) -> bool:
        """Whether it is the output of a block."""
        return self.where == "output"

    @property
    def text(self) -> str:
        """The place as it is written: "input", "block 3", "parameters 3"."""
        return f"{self.where} {self.block}" if self.block else self.where


def parse_places(text: str, net: Decomposition) -> tuple[Place, ...]:
    """Read where the gradient is to be measured.

    Args:
        text: "input"; "first" (the first block's input); "blocks" (the input of every block);
            "block 3"; "parameters 3" (also with a colon: "parameters:3").
        net: The network.

    Raises:
        UsageError: If there is no such place.
    """
    where, number = read_place(text)
    if number is None:
        return {
            "input": (Place("input"),),
            "first": (Place("block", 1),),
            "blocks": tuple(Place("block", block.index) for block in net),
        }[where]
    if not 1 <= number <= len(net):
        raise UsageError(f"the place '{text}': the network has blocks 1 to {len(net)}")
    if where == "block":
        return (Place("block", number),)
    if not any(True for _ in net.block(number).parameters()):
        raise UsageError(f"the place '{text}': block {number} has no parameters of its own")
    return (Place("parameters", number),)
