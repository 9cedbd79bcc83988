"""Weights under foreign names, assigned by their order where that leaves one reading."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from .weight_names import HARMLESS

__all__ = ["in_order"]


def in_order(
    sets: Mapping[str, Mapping[str, Tensor]],
    expected: Mapping[str, Tensor],
    same_shape: Mapping[str, frozenset[tuple[int, ...]]] | None = None,
) -> tuple[str, dict[str, Tensor]] | None:
    """Assign the tensors of a set to a network's in their order.

    The number must agree, every module must have the same tensors with the same shapes, and one set
    alone may do so. Names in alphabetical order, as safetensors writes them, say nothing of the
    order in a network, and are not read so.

    Args:
        sets: Tensors by name, in each place of the file.
        expected: The network's tensors, in its order.
        same_shape: Other shapes that a tensor may have, for classifiers of another width.

    Returns:
        The place of the set and the tensors under the network's names; nothing where there is no
        such reading, or more than one.
    """
    wanted = _modules(expected)
    readings = []
    for place, tensors in sets.items():
        names = [name for name in tensors if not HARMLESS.search(name)]
        if len(names) > 2 and names == sorted(names) and not _in_natural_order(wanted):
            continue
        found = _assigned(_modules(tensors), wanted, same_shape or {})
        if found is not None:
            readings.append((place, found))
    return readings[0] if len(readings) == 1 else None


def _modules(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, tuple[str, Tensor]]]:
    """Tensors of each module by their last names, counters left out."""
    modules: dict[str, dict[str, tuple[str, Tensor]]] = {}
    for name, value in tensors.items():
        if not HARMLESS.search(name):
            module, _, last = name.rpartition(".")
            modules.setdefault(module, {})[last] = (name, value)
    return modules


def _assigned(
    found: Mapping[str, Mapping[str, tuple[str, Tensor]]],
    wanted: Mapping[str, Mapping[str, tuple[str, Tensor]]],
    same_shape: Mapping[str, frozenset[tuple[int, ...]]],
) -> dict[str, Tensor] | None:
    if len(found) != len(wanted):
        return None
    result = {}
    for given, own in zip(found.values(), wanted.values(), strict=True):
        if given.keys() != own.keys():
            return None
        for last, (name, expected) in own.items():
            value = given[last][1]
            other = same_shape.get(name, frozenset())
            if value.shape != expected.shape and tuple(value.shape) not in other:
                return None
            result[name] = value
    return result


def _in_natural_order(modules: Mapping[str, object]) -> bool:
    """Whether a network's modules stand in the order of their names, numbers as numbers."""

    def natural(name: str) -> list[tuple[int, int, str]]:
        parts = re.findall(r"\d+|\D+", name)
        return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts]

    names = list(modules)
    return names == sorted(names, key=natural) == sorted(names)
