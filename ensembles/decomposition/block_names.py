"""Blocks are called by the modules that they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

__all__ = ["numbered"]


def numbered(names: Sequence[str]) -> list[str]:
    """Number the names that several blocks would share.

    Args:
        names: The module that each block comes from ("" for the model itself), in order.

    >>> numbered(["layer1", "", "layer1"])
    ['layer1#1', 'block', 'layer1#2']
    """
    given = [name or "block" for name in names]
    often, seen = Counter(given), Counter[str]()
    out = []
    for name in given:
        seen[name] += 1
        out.append(f"{name}#{seen[name]}" if often[name] > 1 else name)
    return out
