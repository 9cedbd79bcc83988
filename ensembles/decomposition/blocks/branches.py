"""Branches that are made of the branches of trained blocks."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import nn

from ensembles.decomposition.writer import Writer, Written

__all__ = ["Scaled", "Together"]

Node = TypeVar("Node")


class Scaled(Written):
    """A module whose value is multiplied by a number; by 0 it is nought whatever it was.

    Attributes:
        inner: The module.
        factor: The number.
    """

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def write(self, writer: Writer[Node], name: str, x: Node, beside: Sequence[Node] = ()) -> Node:
        """Write the product."""
        value = writer.part(self.inner, f"{name}.inner", x, beside)
        if self.factor == 0:
            return writer.call(torch.zeros_like, value)
        return writer.call(operator.mul, value, self.factor)


class Together(Written):
    """The sum, or the mean, of what several branches make of one tensor.

    Attributes:
        branches: The branches, in order.
        mean: Whether they are averaged.
    """

    def __init__(self, branches: Sequence[nn.Module], mean: bool = False) -> None:
        super().__init__()
        self.branches, self.mean = nn.ModuleList(branches), mean

    def write(self, writer: Writer[Node], name: str, x: Node, beside: Sequence[Node] = ()) -> Node:
        """Write the sum."""
        values = [
            writer.part(branch, f"{name}.branches.{place}", x, beside)
            for place, branch in enumerate(self.branches)
        ]
        total = values[0]
        for value in values[1:]:
            total = writer.add(total, value)
        return writer.call(torch.div, total, len(values)) if self.mean else total
