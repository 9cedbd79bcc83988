"""Lesions whose BatchNorm statistics are measured anew before they are evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import Inputs, placed
from ensembles.engine.direct import Direct
from ensembles.engine.materials import Materials
from ensembles.engine.memory import twice
from ensembles.engine.parts import number_rows, numbered
from ensembles.errors import LesionError
from ensembles.lesions import Lesion
from ensembles.lesions.needs import Reference
from ensembles.numerics import exact_attention, tf32
from ensembles.tasks.base import Batch

__all__ = ["Recalibrated", "recalibrate"]


class _Statistics(NamedTuple):
    """What a BatchNorm layer subtracts and divides by, for every channel."""

    norm: _BatchNorm
    mean: Tensor
    variance: Tensor


class Recalibrated:
    """Runs lesions whole, each with the statistics that BatchNorm has under it.

    The statistics are the mean over reference batches of each batch's mean and unbiased variance,
    measured in float32 with BatchNorm alone in training mode. A layer that runs several times under
    a lesion contributes each time. Nothing is shared between lesions, and nothing folded.

    Args:
        net: The network; left as it is.
        lesions: Lesions with a recalibration.
        materials: Where the reference batches come from.
        device: Where to run.
        dtype: The type of weights and activations.

    Raises:
        LesionError: If a batch is too small for a variance.
        OutOfMemoryError: If memory does not suffice for a reference batch.
    """

    def __init__(
        self,
        net: Decomposition,
        lesions: Sequence[Lesion],
        materials: Materials,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        programs = [lesion.program(len(net)) for lesion in lesions]
        wide = torch.promote_types(dtype, torch.float32)
        self.direct = Direct(net, programs, materials, device, wide)
        self.evaluations = self.direct.evaluations
        self._statistics = [
            self._measured(number, lesion, materials) for number, lesion in enumerate(lesions)
        ]
        self.direct.to(device, dtype)

    @property
    def modules(self) -> list[nn.Module]:
        """All that may run."""
        return self.direct.modules

    def run(self, inputs: Inputs) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of each lesion and its output."""
        for number, program in enumerate(self.direct.programs):
            self.load(number)
            yield number, self.direct.output(program, inputs)

    def load(self, number: int) -> None:
        """Give each BatchNorm layer the statistics that it has under a lesion."""
        _load(self._statistics[number])

    def _measured(self, number: int, lesion: Lesion, materials: Materials) -> list[_Statistics]:
        direct, program = self.direct, self.direct.programs[number]
        rows = numbered(direct.modules)

        def run(batch: Batch) -> None:
            number_rows(rows, batch.start, batch.inputs)
            direct.output(program, placed(batch.inputs, direct.device, direct.dtype))

        return twice(
            lambda: _measured(run, direct.modules, lesion, materials),
            direct.device,
            f"the reference batches of {lesion}",
        )


def recalibrate(network: nn.Module, lesion: Lesion, materials: Materials) -> None:
    """Give a lesioned network the statistics that BatchNorm has in it.

    Args:
        network: What the lesion left, in evaluation mode; maps inputs to logits.
        lesion: A lesion with a recalibration.
        materials: Where the reference batches come from.

    Raises:
        LesionError: If a batch is too small for a variance.
    """
    some = next(network.parameters())

    def run(batch: Batch) -> None:
        network(placed(batch.inputs, some.device, some.dtype))

    with torch.no_grad(), exact_attention(), tf32(False):
        _load(_measured(run, [network], lesion, materials))


def _load(statistics: Iterable[_Statistics]) -> None:
    for norm, mean, variance in statistics:
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _measured(
    run: Callable[[Batch], None],
    modules: Iterable[nn.Module],
    lesion: Lesion,
    materials: Materials,
) -> list[_Statistics]:
    """The statistics of all BatchNorm layers that are reached, over the reference batches."""
    chosen = lesion.recalibration
    assert chosen is not None
    need = Reference(chosen.batches * chosen.batch_size)
    with _recalibrating(modules) as norms:
        try:
            for batch in materials.batches(need, chosen.batch_size):
                run(batch)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise LesionError(
                f"{lesion}: BatchNorm finds a single value for a channel in a "
                f"reference batch of {chosen.batch_size}; take larger batches"
            ) from error
        return [_tracked(norm) for norm in norms if norm.num_batches_tracked]


def _tracked(norm: _BatchNorm) -> _Statistics:
    assert norm.running_mean is not None and norm.running_var is not None
    return _Statistics(norm, norm.running_mean.clone(), norm.running_var.clone())


@contextmanager
def _recalibrating(modules: Iterable[nn.Module]) -> Iterator[list[_BatchNorm]]:
    """BatchNorm layers in training mode, with nothing tracked yet, whose average is cumulative."""
    found = {id(inner): inner for module in modules for inner in module.modules()}
    norms = [one for one in found.values() if isinstance(one, _BatchNorm)]
    norms = [norm for norm in norms if norm.running_mean is not None]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None
        yield norms
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum
