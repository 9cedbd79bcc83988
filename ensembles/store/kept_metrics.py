"""Which metrics a store keeps, and the names that it keeps them under."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from ensembles.errors import UsageError
from ensembles.open_set import PluginWarning

if TYPE_CHECKING:
    from ensembles.metrics import Metric
    from ensembles.store.key import Context

__all__ = ["USUAL", "in_order", "known_here", "measured_with", "names_of"]

USUAL = ("top1", "loss")
"""Metrics that are asked for where nothing is said."""

_KEPT = ("top1", "loss", "classes")
_MOST_CLASSES = 1 << 15


def names_of(metrics: str | Metric | Iterable[str | Metric]) -> tuple[str, ...]:
    """The names under which a store keeps metrics.

    Raises:
        UsageError: If a name is unknown, or a metric is told from others of its name by settings.
    """
    from ensembles.metrics import METRICS, read  # noqa: PLC0415 (numpy)

    found = read(metrics)
    for metric in found:
        usual = METRICS.get(metric.name) if metric.name in METRICS.names() else None
        if fields(metric) and metric.bare != usual:
            raise UsageError(
                f"metric '{metric.name}' has settings, and a store keeps results by the name of a "
                "metric; register it under a name of its own"
            )
    return tuple(metric.name for metric in found)


def measured_with(names: Sequence[str], context: Context) -> tuple[str, ...]:
    """What to measure where some metrics are asked for: these, and what a store always keeps.

    That is `top1`, `loss` and `classes`, as far as the task has a meaning for them; `classes` not
    for more classes than 32,768 (a vocabulary).
    """
    from ensembles.metrics import METRICS  # noqa: PLC0415 (numpy)

    task = context.key.task.partition(" ")[0]
    kept = [name for name in _KEPT if task in (METRICS.get(name).tasks or (task,))]
    if context.classes > _MOST_CLASSES:
        kept.remove("classes")
    return (*names, *(name for name in kept if name not in names))


def in_order(names: Iterable[str]) -> list[str]:
    """Names of metrics in the order of their set, then those that this program cannot read."""
    from ensembles.metrics import METRICS  # noqa: PLC0415 (numpy)

    wanted = set(names)
    known = [name for name in METRICS.names() if name in wanted]
    return [*known, *sorted(wanted.difference(known))]


def known_here(names: Iterable[str]) -> list[Metric]:
    """The metrics that this program can read, in the order of their set.

    One that no installed package brings, or whose package cannot be imported, is named in a
    warning.
    """
    from ensembles.metrics import METRICS  # noqa: PLC0415 (numpy)

    found = []
    for name in in_order(names):
        try:
            found.append(METRICS.get(name))
        except UsageError as error:
            line = f"metric '{name}' is in the store and left out: {error}"
            warnings.warn(line, PluginWarning, stacklevel=3)
    return found
