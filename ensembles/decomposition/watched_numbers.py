"""Numbers that a hook takes out of an activation: it may write them down, or decide by them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import fx

__all__ = ["WatchedNumber"]


class WatchedNumber(float):
    """A number that tells what it is compared with.

    What is computed of it is a plain number, and is not watched.

    Args:
        value: The number.
        node: The node whose value it is.
        decide: Told of a comparison: the function, the node, the other operand, and the outcome.
    """

    node: fx.Node
    decide: Callable[[Any, fx.Node, Any, bool], None]

    def __new__(cls, value: float, node: fx.Node, decide: Any) -> WatchedNumber:
        """A float is made here."""
        made = super().__new__(cls, value)
        made.node, made.decide = node, decide
        return made

    def __bool__(self) -> bool:
        """Whether it is not nought."""
        return bool(self != 0.0)


def _comparison(name: str) -> Any:
    function, plain = getattr(operator, name), getattr(float, f"__{name}__")

    def compare(self: WatchedNumber, other: Any) -> Any:
        outcome = plain(self, other)
        if outcome is not NotImplemented:
            beside = other.node if isinstance(other, WatchedNumber) else other
            self.decide(function, self.node, beside, outcome)
        return outcome

    return compare


for _name in ("lt", "le", "eq", "ne", "gt", "ge"):
    setattr(WatchedNumber, f"__{_name}__", _comparison(_name))
