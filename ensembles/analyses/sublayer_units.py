"""What is removed at once: a sublayer, or both of a layer; its lesion, and its influence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ensembles.analyses.base import Run
from ensembles.analyses.stream import Mean, Stream
from ensembles.analyses.stream_walk import each_part, on_device
from ensembles.decomposition import Block, Decomposition, walk
from ensembles.decomposition.sublayers import Sublayer, sublayers_of
from ensembles.lesions import Delete, Drop, Lesion
from ensembles.tasks.base import Batch

__all__ = ["Unit", "influences", "removal", "units_of"]


class Unit(NamedTuple):
    """Sublayers that are removed at once.

    Attributes:
        layer: Their layer.
        parts: The sublayers, in order.
    """

    layer: int
    parts: tuple[Sublayer, ...]

    @property
    def name(self) -> str:
        """The modules that they come from."""
        return " ".join(part.name for part in self.parts)


def units_of(net: Decomposition) -> dict[str, list[Unit]]:
    """What is removed in turn: attention, MLPs, both of a layer, and either.

    Args:
        net: A network with both kinds.
    """
    parts = sublayers_of(net)
    either = [Unit(part.layer, (part,)) for part in parts]
    layers = sorted({part.layer for part in parts})
    return {
        "attention": [unit for unit in either if unit.parts[0].kind == "attention"],
        "mlp": [unit for unit in either if unit.parts[0].kind == "mlp"],
        "both": [
            Unit(layer, tuple(part for part in parts if part.layer == layer)) for layer in layers
        ],
        "either": either,
    }


def removal(net: Decomposition, units: Iterable[Unit]) -> Lesion:
    """The lesion that removes some units; a block loses one branch of several, or all of them.

    Args:
        net: The network.
        units: At least one.
    """
    blocks: set[int] = set()
    roads: dict[int, set[int]] = {}
    for part in (part for unit in units for part in unit.parts):
        if part.road:
            roads.setdefault(part.block, set()).add(part.road)
        else:
            blocks.add(part.block)
    blocks |= {block for block, lost in roads.items() if len(lost) == net.road_counts[block - 1]}
    rest = tuple((block, road) for block in set(roads) - blocks for road in roads[block])
    if not rest:
        return Delete(tuple(sorted(blocks)))
    dropped: Lesion = Drop(rest)
    return Delete(tuple(sorted(blocks))).then(dropped) if blocks else dropped


def influences(net: Decomposition, data: Any, run: Run, units: Sequence[Unit]) -> dict[Unit, Mean]:
    """The influence 1 - E cos(x, y) of each unit, at each position over its channels.

    x is what reaches its first sublayer, y what its last one leaves in the intact network. Of one
    branch of several in a block, y is what the block gives with this branch alone.

    Args:
        net: The network.
        data: The rows.
        run: Where and how.
        units: The units.
    """
    stream = Stream(on_device(net, run))
    found = {unit: Mean() for unit in units}

    def add(batch: Batch) -> None:
        values: dict[Unit, Tensor] = {}
        entered: dict[Unit, Tensor] = {}
        for block, x, y in walk(stream.net, batch.inputs):
            for unit in units:
                if block.index == unit.parts[0].block:
                    entered[unit] = x
                if block.index == unit.parts[-1].block:
                    left = _left(block, unit, x, y)
                    seen = stream.direction(block, entered.pop(unit), left)
                    values[unit] = seen.values["influence"]
        for unit, each in values.items():
            found[unit].add(each)

    each_part(net, data, run, add, "sublayers")
    return found


def _left(block: Block, unit: Unit, x: Tensor, y: Tensor) -> Tensor:
    """What a unit leaves, where its last sublayer is in a block with this input and output."""
    own = {part.road for part in unit.parts if part.block == block.index}
    if own == {0} or block.roads is None:
        return y
    others = set(range(1, len(block.roads) + 1)) - own
    return block.dropped(x, others) if others else y
