"""Averages over training under names of their own: without dots, or as a list in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from .covers import Cover
from .weight_names import is_averaged

__all__ = ["disguised_averages"]

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_JOINS = ("_", "")
_MOST_DROPPED = 4


@dataclass(frozen=True)
class _Disguised(Cover):
    """Averaged parameters, and the raw weights' BatchNorm statistics, which are not averaged."""

    raw: Cover | None = None

    def left_over(self, flat: Iterable[str], network: Iterable[str]) -> tuple[list[str], list[str]]:
        """As of the raw weights, which then lie beside."""
        assert self.raw is not None
        wrong, beside = self.raw.left_over(flat, network)
        own = set(self.names.values())
        raw = [name for name in self.raw.names.values() if name not in own]
        return wrong, [*raw, *(name for name in beside if name not in own)]


def disguised_averages(flat: Mapping[str, Tensor], raw: Cover) -> list[Cover]:
    """Averages of a network's parameters that do not bear their names.

    Written so by latent-diffusion's ``LitEma`` (names without dots), mmcv's ``EMAHook`` (``_`` for
    dots) and torch_ema (a list, in the order of ``parameters()``).

    Args:
        flat: All tensors of the file by their whole names.
        raw: The network's weights in it.
    """
    parameters = [name for name in raw.names if not name.endswith(_STATISTICS)]
    wholes = [raw.names[name] for name in parameters]
    found: dict[str, list[str]] = {}
    for prefix, names in (*_flattened(flat, wholes), *_listed(flat, len(wholes))):
        shapes = (flat[own].shape == flat[whole].shape
                  for own, whole in zip(names, wholes, strict=True))  # fmt: skip
        if is_averaged(prefix) and all(shapes):
            found.setdefault(prefix, names)
    statistics = tuple(name for name in raw.names if name not in parameters)
    return [
        _Disguised(
            prefix,
            {**raw.names, **dict(zip(parameters, names, strict=True))},
            elsewhere=statistics,
            raw=raw,
        )
        for prefix, names in found.items()
    ]


def _flattened(flat: Mapping[str, Tensor], wholes: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Sets of names that are those of the weights, their dots left out or replaced."""
    parts = [whole.split(".") for whole in wholes]
    for dropped in range(min(_MOST_DROPPED, *map(len, parts))):
        for join in _JOINS:
            ends = [join.join(one[dropped:]) for one in parts]
            heads = {name.removesuffix(ends[0]) for name in flat if name.endswith(ends[0])}
            for head in sorted(heads):
                names = [head + end for end in ends]
                if head and all(name in flat for name in names):
                    yield head.rstrip("._"), names


def _listed(flat: Mapping[str, Tensor], count: int) -> Iterator[tuple[str, list[str]]]:
    """Lists of as many tensors as there are weights."""
    for name in flat:
        prefix, _, last = name.rpartition(".")
        names = [f"{prefix}.{number}" for number in range(count)]
        if last == "0" and f"{prefix}.{count}" not in flat and all(one in flat for one in names):
            yield prefix, names
