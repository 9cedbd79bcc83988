"""The sets of tensors in what a file holds, each under the place where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from .inert import Foreign
from .pickle_contents import Array, Described

__all__ = ["TensorSets", "flattened", "sets_of"]

TensorSets = dict[str, dict[str, Tensor]]
_DEEPEST = 16


def sets_of(content: Any) -> tuple[TensorSets, list[str]]:
    """Find every mapping or list of tensors, and every pickled module, in what a file holds.

    Args:
        content: As ``contents_of`` gives it.

    Returns:
        Tensors by name in each place (``""``, ``"state_dict"``, ``"model.ema"``), and the names of
        the classes of objects that were left unread.
    """
    walk = _Walk()
    walk.visit("", content, 0)
    return walk.sets, list(dict.fromkeys(walk.foreign))


def flattened(sets: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """All tensors of all sets, under their whole names."""
    return {
        f"{place}.{name}" if place else name: value
        for place, tensors in sets.items()
        for name, value in tensors.items()
    }


class _Walk:
    def __init__(self) -> None:
        self.sets: TensorSets = {}
        self.foreign: list[str] = []
        self.seen: set[int] = set()

    def visit(self, place: str, node: Any, depth: int) -> None:
        if depth > _DEEPEST or id(node) in self.seen:
            return
        self.seen.add(id(node))
        if isinstance(node, Foreign):
            parts = _module(node)
            if parts is not None:
                self._take(place, dict(_module_tensors(node, (), 0)))
                return
            self.foreign.append(node.name)
            self._inside(place, node, depth)
        elif isinstance(node, dict):
            self._mapping(place, node.items(), depth)
        elif isinstance(node, (list, tuple)):
            self._mapping(place, enumerate(node), depth, named=False)

    def _inside(self, place: str, node: Foreign, depth: int) -> None:
        pairs = [item for item in node.items if isinstance(item, tuple) and len(item) == 2]
        self._mapping(place, pairs, depth)
        if isinstance(node.state, dict):
            self._mapping(place, node.state.items(), depth)

    def _mapping(self, place: str, pairs: Any, depth: int, *, named: bool = True) -> None:
        tensors: dict[str, Tensor] = {}
        for key, value in pairs:
            if isinstance(key, Foreign):
                continue
            found = _tensor(value)
            if found is not None:
                tensors[str(key)] = found
            elif isinstance(value, (dict, list, tuple, Foreign)):
                self.visit(f"{place}.{key}" if place else str(key), value, depth + 1)
        if named or len(tensors) > 1:
            self._take(place, tensors)

    def _take(self, place: str, tensors: dict[str, Tensor]) -> None:
        if tensors:
            self.sets.setdefault(place, {}).update(tensors)


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    return value.tensor() if isinstance(value, (Described, Array)) else None


def _module(node: Foreign) -> dict[str, Any] | None:
    """The attributes of a pickled module; nothing for other objects."""
    for state in (node.state, *node.arguments[:1]):
        if isinstance(state, dict) and {"_modules", "_parameters"} <= state.keys():
            return state
    return None


def _members(kept: Any) -> set[str]:
    """What stands in a pickled set of texts."""
    if not isinstance(kept, Foreign):
        return set()
    given = kept.arguments[0] if kept.arguments and isinstance(kept.arguments[0], list) else []
    return {one for one in (*kept.items, *given) if isinstance(one, str)}


def _module_tensors(node: Any, way: tuple[str, ...], depth: int) -> Iterator[tuple[str, Tensor]]:
    """Parameters and persistent buffers of a pickled module, named as its state dict does."""
    state = _module(node) if isinstance(node, Foreign) else None
    if state is None or depth > 4 * _DEEPEST:
        return
    left_out = _members(state.get("_non_persistent_buffers_set"))
    for part in ("_parameters", "_buffers"):
        held = state.get(part)
        for name, value in held.items() if isinstance(held, dict) else ():
            found = _tensor(value)
            if found is not None and not (part == "_buffers" and name in left_out):
                yield ".".join((*way, str(name))), found
    inner = state.get("_modules")
    for name, module in inner.items() if isinstance(inner, dict) else ():
        yield from _module_tensors(module, (*way, str(name)), depth + 1)
