"""All lesions of a slice level by level: lesions that meet the same step there make one call.

Each lesion is a branch of the tree of shared prefixes. A node of the tree is run where the first of
its lesions meets it; all nodes that run the same step at one level are one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ensembles.engine.prefix_tree import Level
from ensembles.lesions.steps import Key

__all__ = ["START", "Call", "LevelPlan", "plan_levels"]

START = 0
"""The node before the first step: what the stem gives."""


@dataclass(frozen=True)
class Call:
    """One step, run for several nodes at once.

    Attributes:
        key: The step.
        parents: The nodes whose states it takes, in order.
        nodes: The nodes that it makes of them.
        done: Nodes whose states nobody needs after it.
    """

    key: Key
    parents: tuple[int, ...]
    nodes: tuple[int, ...]
    done: tuple[int, ...]


@dataclass(frozen=True)
class LevelPlan:
    """The calls of a slice of lesions.

    Attributes:
        calls: One after the other.
        ends: The nodes that the head takes, each once, in order.
        lesions: For each of these, the numbers of the lesions that end there.
        most: The most states that are alive at a time, those that a call makes among them.
    """

    calls: tuple[Call, ...]
    ends: tuple[int, ...]
    lesions: tuple[tuple[int, ...], ...]
    most: int

    @property
    def evaluations(self) -> int:
        """How many steps run, each counted for every node."""
        return sum(len(call.nodes) for call in self.calls)


@dataclass
class _Tree:
    """Nodes by number: what each runs, after which one, and where."""

    parents: list[int]
    keys: list[Key]
    levels: list[Level]

    def followed(self, sequences: Sequence[Sequence[tuple[Level, Key]]]) -> list[int]:
        """Add lesions to the tree; the node at which each ends."""
        children: dict[tuple[int, Key], int] = {}
        ends = []
        for sequence in sequences:
            node = START
            for level, key in sequence:
                child = children.setdefault((node, key), len(self.parents))
                if child == len(self.parents):
                    self.parents.append(node)
                    self.keys.append(key)
                    self.levels.append(level)
                self.levels[child] = min(self.levels[child], level)
                node = child
            ends.append(node)
        return ends


def plan_levels(
    sequences: Sequence[Sequence[tuple[Level, Key]]], numbers: Sequence[int]
) -> LevelPlan:
    """Plan a slice of lesions.

    The nodes of a call stand in the order in which their parents were made, so that states which
    lie beside each other stay beside each other.

    Args:
        sequences: What each lesion runs, with levels that grow along it.
        numbers: The number of each lesion in its sweep.
    """
    tree = _Tree([START], [()], [(0, 0)])
    ends = tree.followed(sequences)
    grouped = _groups(tree)
    order = tuple(sorted(set(ends), key=_made_at(grouped).__getitem__))
    lesions: dict[int, list[int]] = {}
    for end, number in zip(ends, numbers, strict=True):
        lesions.setdefault(end, []).append(number)
    calls, most = _with_ends_of_life(tree, grouped, frozenset(ends))
    return LevelPlan(calls, order, tuple(tuple(lesions[end]) for end in order), most)


def _groups(tree: _Tree) -> list[list[int]]:
    """The nodes of each call, in the order of the calls."""
    calls: list[list[int]] = []
    made: dict[int, tuple[int, int, int]] = {START: (0, 0, 0)}
    nodes = sorted(range(1, len(tree.parents)), key=tree.levels.__getitem__)
    for number, (_, level) in enumerate(groupby(nodes, key=tree.levels.__getitem__), 1):
        groups: dict[Key, list[int]] = {}
        for node in level:
            groups.setdefault(tree.keys[node], []).append(node)
        largest_first = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        for group, (_, found) in enumerate(largest_first):
            found.sort(key=lambda node: made[tree.parents[node]])
            made |= {node: (-number, group, place) for place, node in enumerate(found)}
            calls.append(found)
    return calls


def _made_at(calls: Sequence[Sequence[int]]) -> dict[int, tuple[int, int]]:
    """Where each node is made: those of late calls first."""
    found = {START: (1, 0)}
    for call, nodes in enumerate(calls):
        found |= {node: (-call, place) for place, node in enumerate(nodes)}
    return found


def _with_ends_of_life(
    tree: _Tree, grouped: Sequence[Sequence[int]], ends: frozenset[int]
) -> tuple[tuple[Call, ...], int]:
    """The calls with the states that each is the last to need, and how many are alive at most."""
    last = {tree.parents[node]: call for call, nodes in enumerate(grouped) for node in nodes}
    done: dict[int, list[int]] = {}
    for node, call in last.items():
        if node not in ends:
            done.setdefault(call, []).append(node)
    calls, alive, most = [], 1, 1
    for call, nodes in enumerate(grouped):
        parents = tuple(tree.parents[node] for node in nodes)
        over = tuple(sorted(done.get(call, ())))
        calls.append(Call(tree.keys[nodes[0]], parents, tuple(nodes), over))
        most = max(most, alive + len(nodes))
        alive += len(nodes) - len(over)
    return tuple(calls), most
