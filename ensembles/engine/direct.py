"""The oracle: each lesion is run whole, from the inputs, through the parts as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.decomposition import Block, Decomposition
from ensembles.decomposition.inputs import Inputs
from ensembles.decomposition.walk import last_output, states
from ensembles.engine.devices import movable_copy
from ensembles.engine.materials import Materials
from ensembles.engine.parts import Parts, steps_of
from ensembles.lesions.steps import Program, intact_program

__all__ = ["Direct"]


class Direct:
    """Runs programs one after the other, and shares nothing between them.

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
        evaluations: How many steps (blocks, mostly) a batch costs.
    """

    name = "direct"
    side_by_side = False

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
        self.net, self.programs = movable_copy(net).eval(), list(programs)
        self._whole = intact_program(len(net))
        parts = Parts(self.net, materials.around(self.net))
        steps = steps_of([*self.programs, self._whole] if intact else self.programs)
        self.parts = {key: parts.plain(step) for key, step in steps.items()}
        self.evaluations = sum(len(steps) for program in self.programs for steps in program)
        self.to(device, dtype)

    @property
    def told(self) -> dict[str, str]:
        """How lesions were run, for the provenance."""
        return {"engine": self.name}

    @property
    def modules(self) -> list[nn.Module]:
        """All that may run."""
        return [self.net, *self.parts.values()]

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move and round all that may run."""
        self.device, self.dtype = device, dtype
        for module in self.modules:
            module.to(device=device, dtype=dtype)

    def run(self, inputs: Inputs) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of each lesion and its output, from inputs of this device and type."""
        for number, program in enumerate(self.programs):
            yield number, self.output(program, inputs)

    def intact(self, inputs: Inputs) -> Tensor:
        """The output of the intact network."""
        return self.output(self._whole, inputs)

    def output(self, program: Program, inputs: Inputs) -> Tensor:
        """The output of one program."""

        def run(block: Block, x: Any) -> Any:
            for step in program[block.index - 1]:
                x = self.parts[step.key](x)
            return x

        out: Tensor = self.net.head(last_output(states(self.net, inputs, run)))
        return out
