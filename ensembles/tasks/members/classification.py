"""One class for each row: images, series, tables, volumes, or several inputs at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensembles.errors import DataError
from ensembles.tasks.base import Batch, Inputs, Task, numbered

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensembles.decomposition import Decomposition
    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Classification"]


@dataclass(frozen=True)
class Classification(Task):
    """One class for each row; an observation is a row.

    The network takes a tensor of any rank (N, ...), or a tuple or mapping of such, and gives
    logits (N, classes); targets are class numbers from 0, int64 (N,).
    """

    name = "classification"
    summary = "one class for each row: images, series, tables, volumes"
    observation = "image"
    shapes = "logits (N, classes) out"

    def suits(self, net: Decomposition) -> bool:
        """Whether the network gives one vector of logits for a row."""
        return len(net.output_shape) == 1

    def batches(self, data: Any, batch_size: int) -> Iterator[Batch]:
        """Read data as batches of rows; see :func:`ensembles.data.batches`."""
        from ensembles.data.batches import batches  # noqa: PLC0415 (imports torch)

        return numbered(batches(data, batch_size))

    def check(self, net: Decomposition, batch: Batch) -> None:
        """Hold shapes and types of the inputs and the range of the labels against a network.

        Raises:
            DataError: Saying what was found and what would fit.
        """
        _check_inputs(net, batch.inputs)
        if not len(batch.targets):
            return
        low, high, classes = int(batch.targets.min()), int(batch.targets.max()), net.num_classes
        if low < 0 or high >= classes:
            single = tuple(net.output_shape) == (1,)
            has = "one logit, whose sign chooses between" if single else ""
            from_one = "; or they are counted from 1, then subtract 1" if 0 < low <= high else ""
            raise DataError(
                f"the data have a label {high if high >= classes else low}, the network "
                f"{f'{has} ' if has else ''}{classes} classes (0 to {classes - 1}); load a network "
                f"with as many classes as the data{from_one if high == classes else ''}"
            )

    def answers(
        self, output: Tensor, targets: Tensor, intact: Tensor | Answers | None = None
    ) -> Answers:
        """Logits (N, classes) as answers to N observations."""
        from ensembles.metrics.answers import Answers  # noqa: PLC0415 (imports torch)

        return Answers.of(output, targets, intact)

    def observations(self, batch: Batch) -> int:
        """How many rows there are."""
        return len(batch.targets)


def _check_inputs(net: Decomposition, inputs: Inputs) -> None:
    """Hold names, shapes and types of the inputs of some rows against a network."""
    from ensembles.data.rows import named_tensors  # noqa: PLC0415 (imports torch)

    tensors = named_tensors(inputs)
    found = {name: tuple(part.shape[1:]) for name, part in tensors.items()}
    names = net.input_names or ("",)
    shapes = net.input_shape if net.input_names else (net.input_shape,)
    taken = dict(zip(names, shapes, strict=True))
    if found != taken:
        raise _misfit(found, taken)
    for name, dtype in zip(taken, net.input_types, strict=True):
        if tensors[name].is_floating_point() != dtype.is_floating_point:
            what = f"the input {name} is" if name else "the inputs are"
            raise DataError(
                f"{what} of type {_type(tensors[name].dtype)}; the network was taken apart for "
                f"{_type(dtype)}: convert the data, or decompose with such inputs"
            )


def _misfit(found: dict[str, tuple[int, ...]], taken: dict[str, tuple[int, ...]]) -> DataError:
    noun, advice = "inputs", "give such inputs, or decompose with inputs like those of the data"
    if found.keys() == taken.keys() == {""} and len(taken[""]) == 3:
        noun, advice = "images", "resize the images, or decompose with such images"
    expected = _described(taken).removeprefix("shape ")
    return DataError(
        f"the {noun} have {_described(found)}; the network was taken apart for {expected}: {advice}"
    )


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _described(shapes: dict[str, tuple[int, ...]]) -> str:
    if shapes.keys() == {""}:
        return f"shape {shapes['']}"
    return "the shapes " + ", ".join(f"{name}: {shape}" for name, shape in shapes.items())


MEMBER = Classification()
