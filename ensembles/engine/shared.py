"""Each step of the tree of lesions is run once a batch, depth first, on parts made fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import Inputs, mapped
from ensembles.engine.cpu_products import CpuProducts
from ensembles.engine.folding import Folder
from ensembles.engine.fused_convolutions import kernel_for
from ensembles.engine.graphs import part_graph
from ensembles.engine.materials import Materials
from ensembles.engine.own_copies import OwnCopies
from ensembles.engine.parts import Parts, first_block, steps_of
from ensembles.engine.prefix_tree import levels_of, passage_key, plan_routes
from ensembles.engine.token_heads import answers_each_alone
from ensembles.garbage import collection_paused
from ensembles.lesions.steps import Bypass, Key, Program, Run, intact_program
from ensembles.tasks.later_logits import LaterLogits

__all__ = ["SharedPrefixes"]


class SharedPrefixes:
    """Runs programs along the tree of their shared prefixes.

    Args:
        net: The network; left as it is.
        programs: What each lesion runs.
        materials: What its steps need beside the network.
        device: Where to run.
        dtype: The type of weights and activations.
        intact: Whether the intact network is run by itself too.

    Attributes:
        name: What the engine is called.
        side_by_side: Whether rows may be run at once.
        parts: What a step runs, by its key.
        usual: Of each step, what the intact network runs in its place.
        stem: What comes before the first block.
        head: What comes after the last block.
        sequences: What each lesion runs, with levels.
        whole: What the intact network runs, with levels.
        routes: The lesions in the order of the tree.
        kernel: What computes convolutions together with what comes after; None for nothing.
        evaluations: How many steps (blocks, mostly) a batch costs.
    """

    name = "prefix"
    side_by_side = True

    @collection_paused()
    def __init__(
        self,
        net: Decomposition,
        programs: Sequence[Program],
        materials: Materials,
        device: torch.device,
        dtype: torch.dtype,
        *,
        intact: bool = False,
    ) -> None:
        whole = intact_program(len(net))
        steps = steps_of([*programs, whole] if intact else programs)
        self.usual = {key: Run(first_block(step)).key for key, step in steps.items()}
        self.kernel = kernel = kernel_for(device, dtype)
        parts, folder, own = Parts(net, materials.around(net)), Folder(kernel), OwnCopies()
        made = {key: parts.graph(step) for key, step in steps.items()}
        idle = frozenset(
            step.block
            for key, step in steps.items()
            if isinstance(step, Bypass) and made[key] is None
        )
        passages = {block.index: block.before for block in net if block.before is not None}
        places = frozenset(passages)
        self.sequences = [levels_of(program, places, idle) for program in programs]
        self.whole = levels_of(whole, places, idle)
        self.routes = plan_routes([tuple(key for _, key in one) for one in self.sequences])
        made |= {passage_key(place): part_graph(part) for place, part in passages.items()}

        products = CpuProducts(device, dtype)

        def fast(part: nn.Module) -> nn.Module:
            folded = folder.folded(part)
            own.keep(folder.made)
            placed = _placed(own.in_place_of(folded), device, dtype)
            return products.placed(placed)

        self.parts = {key: fast(part) for key, part in made.items() if part is not None}
        self.stem, self.head = fast(part_graph(net.stem)), fast(part_graph(net.head))
        self.evaluations = sum(len(route.keys) - route.shared for route in self.routes)
        self._later = False
        self._alone: bool | None = None

    @property
    def told(self) -> dict[str, str]:
        """How lesions were run, for the provenance."""
        found = {"engine": self.name}
        return found if self.kernel is None else found | {"convolutions": self.kernel.told}

    @property
    def modules(self) -> list[nn.Module]:
        """All that may run."""
        return [self.stem, *self.parts.values(), self.head]

    def run(self, inputs: Inputs) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of each lesion and its output, from inputs of this device and type."""
        held = {0: self._begun(inputs)}
        last: tuple[tuple[Key, ...], Tensor] | None = None
        for route in self.routes:
            held = {depth: value for depth, value in held.items() if depth <= route.shared}
            if last is not None and last[0] == route.keys:
                yield route.lesion, last[1]
                continue
            last = None
            value = held[route.shared]
            if route.shared not in route.keep:
                del held[route.shared]
            for depth in range(route.shared, len(route.keys)):
                value = self.parts[route.keys[depth]](value)
                if depth + 1 in route.keep:
                    held[depth + 1] = value
            last = route.keys, self._ended(value)
            yield route.lesion, last[1]

    def intact(self, inputs: Inputs) -> Tensor:
        """The output of the intact network."""
        value = self._begun(inputs)
        for _, key in self.whole:
            value = self.parts[key](value)
        out: Tensor = self._ended(value)
        return out

    def answer_later(self) -> None:
        """Leave the head to whoever measures, token by token, where it answers each alone."""
        self._later = True

    def _ended(self, value: Any) -> Any:
        """The logits, or what they are made of when they are measured."""
        if self._later and self._alone is None:
            self._alone = answers_each_alone(self.head, value)
        return LaterLogits(self.head, value) if self._later and self._alone else self.head(value)

    def _begun(self, inputs: Inputs) -> Tensor:
        out: Tensor = self.stem(mapped(_channels_last, inputs))
        return out


def _channels_last(tensor: Tensor) -> Tensor:
    """An image with its channels behind its pixels, as convolutions like it."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _placed(part: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    part = part.to(device=device, dtype=dtype)
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return part
