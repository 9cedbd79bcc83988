"""Whether states of several lesions can be one batch, and how large they are: a few rows tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ensembles.decomposition.inputs import Inputs, named_tensors, rows_of, take
from ensembles.engine.memory import is_oom
from ensembles.engine.pages import OWN, leaves
from ensembles.lesions.steps import Key

__all__ = ["HEAD", "STEM", "RowForm", "seen_on"]

STEM: Key = ("stem",)
HEAD: Key = ("head",)

_TRIED = (2, 3, 5)
_CLOSE = {torch.float64: 1e-3, torch.float32: 0.02}
_ROUGH = 0.2
"""Relative deviations that tell rounding from rows that were mixed."""


@dataclass(frozen=True)
class RowForm:
    """How the states of a network keep the rows of its inputs.

    Attributes:
        fault: Why states cannot stand in one batch; "" where they can.
        constant: Names of what is alive and has no rows.
        elements: Of each step of the intact network, stem and head among them, the numbers that it
            reads or makes for a row, whichever are more.
        state_bytes: Bytes of the largest state for a row.
        output_bytes: Bytes of the logits for a row.
    """

    fault: str = ""
    constant: frozenset[str | None] = frozenset()
    elements: Mapping[Key, int] | None = None
    state_bytes: int = 0
    output_bytes: int = 0


Run = Callable[[Inputs, Tensor], "dict[Key, Any]"]


def seen_on(run: Run, inputs: Inputs) -> RowForm:
    """Run a few rows together and apart, and look at what is alive after each step.

    Args:
        run: The intact network: from inputs, and the places of their rows in the batch, to the
            state after each step, the output of the head the last.
        inputs: Some rows.
    """
    two, _, five = _TRIED
    places = torch.arange(five) % rows_of(inputs)
    try:
        first, second, both = [
            run(take(inputs, places[part]), places[part])
            for part in (slice(0, two), slice(two, five), slice(0, five))
        ]
    except (RuntimeError, ValueError, IndexError) as error:
        if is_oom(error):
            raise
        return RowForm(f"a part does not run on {two} rows by themselves: {str(error)[:80]}")
    constant: set[str | None] = set()
    rowed: set[str | None] = set()
    for key, state in both.items():
        ours = [leaves(one[key]) for one in (first, second)]
        for name, value in leaves(state).items():
            parts = [one.get(name) for one in ours]
            if _has_rows(parts, value):
                rowed.add(name)
            elif name is not OWN and _same(parts[0], value) and _same(parts[1], value):
                constant.add(name)
            else:
                what = "the state" if name is OWN else f"'{name}', which is carried along,"
                return RowForm(f"{what} after {_named(key)} does not keep its rows in dimension 0")
    if rowed & constant:
        return RowForm(f"{min(map(str, rowed & constant))} has rows at some places alone")
    return RowForm(
        "",
        frozenset(constant),
        _elements(take(inputs, places), both, five),
        max(_bytes(state) for state in both.values()) // five,
        _bytes(both[HEAD]) // five,
    )


def _has_rows(parts: list[Any], both: Any) -> bool:
    """Whether the rows of two batches one after the other are those of both together."""
    tensors = [*parts, both]
    if not all(isinstance(one, Tensor) and one.ndim > 0 for one in tensors):
        return False
    if [len(one) for one in tensors] != list(_TRIED):
        return False
    if len({one.shape[1:] for one in tensors}) > 1:
        return False
    apart, together = torch.cat(parts).double(), both.double()
    known = apart.isfinite() & together.isfinite()
    apart, together = torch.where(known, apart, 0.0), torch.where(known, together, 0.0)
    allowed = _CLOSE.get(both.dtype, _ROUGH) * together.norm()
    return bool((apart - together).norm() <= allowed)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool(torch.equal(one, other))
    return type(one) is type(other) and bool(one == other)


def _elements(inputs: Inputs, states: Mapping[Key, Any], rows: int) -> dict[Key, int]:
    read = sum(math.prod(one.shape[1:]) for one in named_tensors(inputs).values())
    found = {}
    for key, state in states.items():
        made = leaves(state)[OWN].numel() // rows
        found[key] = max(read, made, 1)
        read = made
    return found


def _bytes(state: Any) -> int:
    tensors = [one for one in leaves(state).values() if isinstance(one, Tensor)]
    return sum(one.numel() * one.element_size() for one in tensors)


def _named(key: Key) -> str:
    return " ".join(map(str, key[:2]))
