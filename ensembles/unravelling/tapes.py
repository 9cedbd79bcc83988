"""A part of a network as a straight line of operations with cheap first-order maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ensembles.unravelling.operations import Step

__all__ = ["Tape", "TapeMap"]


class Tape:
    """Operations in order; slot 0 is the part's input.

    Args:
        steps: The operations.
        result: The slot of the part's value.
    """

    def __init__(self, steps: Sequence[Step], result: int) -> None:
        self.steps, self.result = tuple(steps), result
        self.readers = Counter(slot for step in steps for slot in step.inputs)

    def linearize(self, x: Tensor) -> TapeMap:
        """Run the part at the images' activations (N, *in_shape) and keep its first-order map."""
        values = {0: x}
        left = self.readers.copy()
        local = []
        for step in self.steps:
            value, kept = step.operation.linearize(*(values[slot] for slot in step.inputs))
            values[step.output] = value
            local.append(kept)
            for slot in step.inputs:
                left[slot] -= 1
                if left[slot] == 0 and slot != self.result:
                    values.pop(slot, None)
        return TapeMap(self, local, x, values[self.result])


class TapeMap:
    """The first-order map of a tape at N images; see `maps.LinearMap`.

    Attributes:
        value: The part's value at the images (N, *out_shape).
    """

    def __init__(self, tape: Tape, local: list[Any], x: Tensor, value: Tensor) -> None:
        self.tape, self.local, self.x, self.value = tape, local, x, value

    def push(self, rows: Tensor) -> Tensor:
        """Tangents through the operations, in order."""
        slots = {0: rows}
        left = self.tape.readers.copy()
        for step, local in zip(self.tape.steps, self.local, strict=True):
            slots[step.output] = step.operation.push(local, *(slots[s] for s in step.inputs))
            for slot in step.inputs:
                left[slot] -= 1
                if left[slot] == 0 and slot != self.tape.result:
                    slots.pop(slot, None)
        return slots[self.tape.result]

    def pull(self, rows: Tensor, images: Tensor | None = None, owned: bool = False) -> Tensor:
        """Cotangents through the operations, from the last to the first."""
        slots: dict[int, Tensor] = {self.tape.result: rows}
        own = {self.tape.result: owned}
        for step, local in zip(reversed(self.tape.steps), reversed(self.local), strict=True):
            cotangent = slots.pop(step.output)
            parts = step.operation.pull(local, cotangent, images, own[step.output])
            fresh = len(parts) == 1 and (own[step.output] or not _is_view(parts[0], cotangent))
            for slot, part in zip(step.inputs, parts, strict=True):
                if slot in slots:
                    slots[slot] = slots[slot] + part
                    own[slot] = True
                else:
                    slots[slot] = part
                    own[slot] = fresh
        return slots[0]

    def release(self) -> None:
        """Nothing is held but what the operations need."""

    def constant(self) -> Tensor | None:
        """What the operations add, pushed to the end: (N, *out_shape)."""
        pairs = list(zip(self.tape.steps, self.local, strict=True))
        offsets = [step.operation.constant(local) for step, local in pairs]
        if all(offset is None for offset in offsets):
            return None
        slots = {0: torch.zeros_like(self.x)}
        for (step, local), offset in zip(pairs, offsets, strict=True):
            pushed = step.operation.push(local, *(slots[slot] for slot in step.inputs))
            slots[step.output] = pushed if offset is None else pushed + offset
        return slots[self.tape.result]


def _is_view(part: Tensor, of: Tensor) -> bool:
    """Whether a tensor lies in the memory of another one, as what is reshaped does."""
    return part.untyped_storage().data_ptr() == of.untyped_storage().data_ptr()
