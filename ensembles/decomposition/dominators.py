"""The last node that all ways from the start to a node lead through: its immediate dominator.

A recorded graph has no circles, and its nodes stand behind those that they read. So one pass finds
what Cooper, Harvey and Kennedy ("A simple, fast dominance algorithm", 2001) repeat until nothing
changes: the dominator of a node is where the ways to its sources meet in the tree of dominators.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import reduce
from typing import TypeVar

__all__ = ["immediate_dominators"]

Node = TypeVar("Node", bound=Hashable)


def immediate_dominators(
    start: Node, nodes: Iterable[Node], sources: Callable[[Node], Iterable[Node]]
) -> dict[Node, Node]:
    """Find the immediate dominators of a graph without circles.

    Args:
        start: Where all ways begin.
        nodes: Those after it, each behind its sources.
        sources: From which nodes edges lead to a node.

    Returns:
        The dominator of each node that a way from the start leads to; the start is its own.

    >>> reads = {"b": "a", "c": "a", "d": "bc", "e": "d"}
    >>> immediate_dominators("a", "bcde", reads.__getitem__)
    {'a': 'a', 'b': 'a', 'c': 'a', 'd': 'a', 'e': 'd'}
    """
    found, depth = {start: start}, {start: 0}

    def meet(one: Node, other: Node) -> Node:
        while one != other:
            if depth[one] < depth[other]:
                one, other = other, one
            one = found[one]
        return one

    for node in nodes:
        reached = [source for source in sources(node) if source in found]
        if reached and node != start:
            found[node] = reduce(meet, reached)
            depth[node] = depth[found[node]] + 1
    return found
