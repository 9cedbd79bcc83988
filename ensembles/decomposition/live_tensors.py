"""Which tensors are alive between nested blocks, and what is computed between them.

Blocks are ordered by where they end. Each tensor is computed right after the last block on which it
depends, and carried until it is read; a block reads its own entry, and beside it what does not
depend on that, or what a block within its branch left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import fx

from ensembles.decomposition.graph import Graph
from ensembles.decomposition.layouts import PLAIN, Layout
from ensembles.decomposition.simplification import operation
from ensembles.decomposition.state import Closing, Opening, Passage
from ensembles.decomposition.subgraphs import several

__all__ = ["Ends", "Wiring"]


@dataclass(frozen=True)
class Ends:
    """Where a block begins and ends.

    Attributes:
        entry: The node that it reads.
        exit: The node that it makes.
    """

    entry: fx.Node
    exit: fx.Node


class Wiring:
    """What is alive before and after each of some blocks.

    Args:
        graph: The functional graph of the whole network.
        blocks: Where each begins and ends, in the order of their ends.

    Attributes:
        reads: What each block reads beside its entry.
    """

    def __init__(self, graph: Graph, blocks: Sequence[Ends]) -> None:
        self.graph, self.blocks = graph, list(blocks)
        self._number = {block.exit: place for place, block in enumerate(self.blocks, 1)}
        self._level: dict[fx.Node, int] = {}
        for node in graph.order:
            below = (self._level.get(source, 0) for source in node.all_input_nodes)
            self._level[node] = self._number.get(node) or max(below, default=0)
        self.reads = [self._beside(block) for block in self.blocks]
        self._plan()

    def _inputs(self, node: fx.Node) -> list[fx.Node]:
        """What a node depends on that is not fixed; what follows the number of rows goes along."""
        if node.meta.get("anchored"):
            return []
        return [source for source in node.all_input_nodes if source in self._moving]

    @property
    def _moving(self) -> set[fx.Node]:
        return self.graph.depending

    def _beside(self, block: Ends) -> list[fx.Node]:
        """What a block reads beside its entry.

        What no other part reads, such as a mask that is prepared for this block, lies within it.
        """
        inside: set[fx.Node] = set()
        open_nodes = [block.exit]
        while open_nodes:
            node = open_nodes.pop()
            outside = node is block.entry or (node in self._number and node is not block.exit)
            if node in inside or outside:
                continue
            inside.add(node)
            open_nodes.extend(self._inputs(node))
        order = sorted(inside, key=self.graph.order.__getitem__)
        below = {block.entry}
        for node in order:
            if any(source in below for source in self._inputs(node)):
                below.add(node)
        held = {block.exit} | (below & inside)
        for node in reversed(order):
            users = [user for user in node.users if user.op != "output"]
            apart = node is self.graph.input or _is_part(node, self.graph.input)
            whole = len(users) == len(node.users) and not apart
            if whole and all(user in held or user not in self._moving for user in users):
                held.add(node)
        self._give_up_tuples(held, below)
        found = {
            source for node in held for source in self._inputs(node)
            if source not in held and source is not block.entry
        }  # fmt: skip
        return sorted(found, key=self.graph.order.__getitem__)

    def _give_up_tuples(self, held: set[fx.Node], below: set[fx.Node]) -> None:
        """Let what is taken out of a tuple that others read too be read as it is."""
        for node in [node for node in held if node not in below and _takes_out(node)]:
            if any(source not in held for source in self._inputs(node)):
                held.discard(node)

    def _plan(self) -> None:
        """Find what is alive, from the logits back to the inputs."""
        count = len(self.blocks)
        output = self.graph.output
        assert isinstance(output, fx.Node)
        self._alive: list[list[fx.Node]] = [[]] * (count + 1)
        self._made: list[list[fx.Node]] = [[]] * (count + 1)
        needed = self._taken([output], count)
        self.last = needed
        for place in range(count, 0, -1):
            block, reads = self.blocks[place - 1], self.reads[place - 1]
            carried = {node for node in needed if node is not block.exit}
            before = carried | {block.entry, *reads}
            level = place - 1
            left = self.blocks[level - 1].exit if level else None
            made = [n for n in before if self._level[n] == level and n is not left]
            made = [n for n in made if n is not self.graph.input or level]
            self._alive[level] = self._sorted(carried | set(reads))
            self._made[level] = self._sorted(made)
            needed = {n for n in before if self._level[n] < level} | set(self._taken(made, level))

    def _taken(self, made: Iterable[fx.Node], level: int) -> set[fx.Node]:
        """What is read to compute nodes right after a block."""
        left = self.blocks[level - 1].exit if level else self.graph.input
        found: set[fx.Node] = set()
        seen: set[fx.Node] = set()
        open_nodes = list(made)
        while open_nodes:
            node = open_nodes.pop()
            if node is left or self._level[node] < level:
                found.add(node)
            elif node not in seen:
                seen.add(node)
                open_nodes.extend(self._inputs(node))
        return found

    def _sorted(self, nodes: Iterable[fx.Node]) -> list[fx.Node]:
        return sorted(set(nodes), key=self.graph.order.__getitem__)

    @property
    def alive(self) -> set[fx.Node]:
        """All that is alive between any two blocks."""
        ends = {node for block in self.blocks for node in (block.entry, block.exit)}
        return ends.union(*self._alive)

    def _layouts(self, nodes: Iterable[fx.Node]) -> dict[str, Layout]:
        """Where the images are, of those tensors that do not hold them in dimension 0."""
        found = {node: self.graph.layout(node) for node in nodes}
        return {node.name: layout for node, layout in found.items() if layout != PLAIN}

    def opening(self) -> Opening:
        """From the inputs to what is alive before the first block."""
        made, keeps, entry = self._made[0], self._alive[0], self.blocks[0].entry
        graph = several(self.graph, [self.graph.input], made, "Stem") if made else None
        names = {self.graph.input: ""}
        opening = Opening(
            [""],
            _names(made, names),
            _names(keeps, names),
            names.get(entry, entry.name),
            graph,
        )
        opening.layouts = self._layouts([*keeps, entry])
        return opening

    def passage(self, place: int) -> Passage:
        """From what is alive after a block to what is alive before the next.

        Args:
            place: Number of the block before it, from 1.
        """
        left, entry = self.blocks[place - 1].exit, self.blocks[place].entry
        made, keeps = self._made[place], self._alive[place]
        takes = self._sorted(self._taken(made, place))
        graph = several(self.graph, takes, made, "Between") if made else None
        names = {self.graph.input: ""}
        passage = Passage(
            _names(takes, names) if made else (),
            _names(made, names),
            _names(keeps, names),
            names.get(entry, entry.name),
            graph,
            left=left.name,
        )
        passage.layouts = self._layouts([*keeps, entry])
        return passage

    def closing(self) -> Closing:
        """From what is alive after the last block to the logits."""
        output = self.graph.output
        assert isinstance(output, fx.Node)
        takes = self._sorted(self._taken([output], len(self.blocks)))
        graph = several(self.graph, takes, [output], "Head")
        return Closing(_names(takes, {self.graph.input: ""}), graph, self.blocks[-1].exit.name)

    def holds(self, index: int) -> tuple[int, ...]:
        """Numbers of the blocks that lie within the branch of a block."""
        block, depends = self.blocks[index - 1], self.graph.depends
        return tuple(
            number
            for number, other in enumerate(self.blocks[: index - 1], 1)
            if other.exit is not block.entry
            and depends(other.exit, block.entry)
            and depends(block.exit, other.exit)
        )

    def names(self, nodes: Iterable[fx.Node]) -> tuple[str, ...]:
        """What tensors are called where they are carried."""
        return _names(nodes, {self.graph.input: ""})


def _names(nodes: Iterable[fx.Node], special: dict[fx.Node, str]) -> tuple[str, ...]:
    return tuple(special.get(node, node.name) for node in nodes)


def _takes_out(node: fx.Node) -> bool:
    return operation(node) == "getitem" and isinstance(node.args[0], fx.Node)


def _is_part(node: fx.Node, inputs: fx.Node) -> bool:
    """Whether a node is one of several inputs."""
    return bool(inputs.meta.get("several")) and inputs in node.all_input_nodes
