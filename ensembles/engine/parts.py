"""Which block a step runs, and what of it: a step of a lesion becomes a module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.decomposition import Block, Decomposition
from ensembles.decomposition.inputs import Inputs, rows_of
from ensembles.decomposition.state import OnState
from ensembles.engine.graphs import block_graph, bypass_graph, without_graph
from ensembles.engine.materials import Materials
from ensembles.lesions.steps import Beside, Bypass, Key, Program, Run, Step, Variant, Without

__all__ = ["Parts", "first_block", "number_rows", "numbered", "steps_of"]


def steps_of(programs: Iterable[Program]) -> dict[Key, Step]:
    """All steps of some programs, each once, by key."""
    return {step.key: step for program in programs for steps in program for step in steps}


def first_block(step: Step) -> int:
    """The block at whose place a step runs; of several the first."""
    return step.parts[0].block if isinstance(step, Beside) else step.block


def numbered(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules that read the number of each row in the data, from an attribute `rows`.

    It is None or a tensor; what else a network of the user's own may call so is left alone.
    """
    found = {id(inner): inner for module in modules for inner in module.modules()}
    return [
        module
        for module in found.values()
        if isinstance(vars(module).get("rows", False), Tensor | None)
    ]


def number_rows(modules: Iterable[nn.Module], start: int, inputs: Inputs) -> None:
    """Tell such modules the numbers of the rows that come next.

    Args:
        modules: See :func:`numbered`.
        start: Number of the first row in the data.
        inputs: The rows.
    """
    for module in modules:
        module.rows = torch.arange(start, start + rows_of(inputs))


class Parts:
    """Makes modules for steps.

    Args:
        net: The network; what is made shares its weights where they are not changed.
        materials: Reference data and other networks, as recipes need them.
    """

    def __init__(self, net: Decomposition, materials: Materials) -> None:
        self.net, self.materials = net, materials

    def plain(self, step: Step) -> nn.Module:
        """The module of a step as the block itself computes it."""
        if isinstance(step, Bypass):
            return self.on_state(step, _Bypassed(self.net.block(step.block)))
        if isinstance(step, Without):
            return self.on_state(step, _Without(self.net.block(step.block), step.roads))
        return self.on_state(step, self.block(step))

    def graph(self, step: Step) -> nn.Module | None:
        """The module of a step as one graph; None where nothing is left to do."""
        if isinstance(step, Bypass):
            made = bypass_graph(self.net.block(step.block))
            return None if made is None else self.on_state(step, made)
        if isinstance(step, Without):
            return self.on_state(step, without_graph(self.net.block(step.block), step.roads))
        return self.on_state(step, block_graph(self.block(step)))

    def on_state(self, step: Step, module: nn.Module) -> nn.Module:
        """A module as it runs between others: on a state where several tensors are alive."""
        if not self.net.is_nested:
            return module
        return OnState(module, self.net.block(first_block(step)).reads)

    def block(self, step: Run | Variant | Beside) -> Block:
        """The block that runs whole in a step."""
        if isinstance(step, Beside):
            first, *others = [self.block(part) for part in step.parts]
            return first.beside(others, step.mean)
        block = self.net.block(step.block)
        if isinstance(step, Variant):
            with torch.no_grad():
                for recipe in step.recipes:
                    block = recipe.variant(block, self.materials)
        return block


class _Bypassed(nn.Module):
    """A block without its branch."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, *beside: Any) -> Tensor:
        return self.block.deleted(x, *beside)


class _Without(nn.Module):
    """A block without some of the branches that meet in it."""

    def __init__(self, block: Block, roads: Sequence[int]) -> None:
        super().__init__()
        self.block, self.roads = block, tuple(roads)

    def forward(self, x: Tensor, *beside: Any) -> Tensor:
        return self.block.dropped(x, self.roads, *beside)
