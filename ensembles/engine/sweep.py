"""All lesions of a sweep on one batch, whether they share parts or have their own statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import Inputs
from ensembles.engine.direct import Direct
from ensembles.engine.materials import Materials
from ensembles.engine.parts import number_rows, numbered
from ensembles.engine.recalibration import Recalibrated
from ensembles.engine.shared import SharedPrefixes
from ensembles.lesions import Lesion
from ensembles.lesions.steps import intact_program

__all__ = ["Sweep"]


class Sweep:
    """Runs lesions on batches.

    Args:
        net: The network; left as it is.
        lesions: The lesions.
        materials: What they need beside the network.
        engine: What runs lesions that keep the statistics of BatchNorm.
        device: Where to run.
        dtype: The type of weights and activations.
        compared: Whether the intact network is run by itself too.

    Attributes:
        device: See above.
        dtype: See above.
        compared: See above.
        unchanged: Numbers of the lesions that run exactly what the intact network runs.
    """

    def __init__(
        self,
        net: Decomposition,
        lesions: Sequence[Lesion],
        materials: Materials,
        *,
        engine: type[Direct] | type[SharedPrefixes],
        device: torch.device,
        dtype: torch.dtype,
        compared: bool = False,
    ) -> None:
        self.device, self.dtype, self.compared = device, dtype, compared
        programs = [lesion.program(len(net)) for lesion in lesions]
        renews = [lesion.recalibration is not None and net.batch_norms > 0 for lesion in lesions]
        self._trained = [number for number, renewed in enumerate(renews) if not renewed]
        self._renewed = [number for number, renewed in enumerate(renews) if renewed]
        whole = intact_program(len(net))
        self.unchanged = frozenset(i for i in self._trained if programs[i] == whole)
        self._engine = engine(
            net,
            [programs[number] for number in self._trained],
            materials,
            device,
            dtype,
            intact=compared,
        )
        self._recalibrated = None
        modules = self._engine.modules
        if self._renewed:
            chosen = [lesions[number] for number in self._renewed]
            self._recalibrated = Recalibrated(net, chosen, materials, device, dtype)
            modules = [*modules, *self._recalibrated.modules]
        self._numbered = numbered(modules)

    def answer_later(self) -> None:
        """Let logits of tokens be made when they are measured, where the engine can."""
        if isinstance(self._engine, SharedPrefixes) and self._recalibrated is None:
            self._engine.answer_later()

    @property
    def side_by_side(self) -> bool:
        """Whether rows may be run at once: nothing is kept between a step and the next."""
        return self._engine.side_by_side and not self._numbered and self._recalibrated is None

    @property
    def told(self) -> dict[str, str]:
        """How lesions were run, for the provenance."""
        return self._engine.told

    def run(
        self, inputs: Inputs, start: int, whole: Tensor | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of each lesion and its output.

        Args:
            inputs: Some rows, on the device.
            start: Number of the first of them in the data.
            whole: The output of the intact network, where it is known: to the last bit that of
                every lesion that changes nothing.
        """
        number_rows(self._numbered, start, inputs)
        for place, output in self._engine.run(inputs):
            number = self._trained[place]
            yield number, output if whole is None or number not in self.unchanged else whole
        if self._recalibrated is not None:
            for place, output in self._recalibrated.run(inputs):
                yield self._renewed[place], output

    def intact(self, inputs: Inputs) -> Tensor:
        """The output of the intact network."""
        return self._engine.intact(inputs)
