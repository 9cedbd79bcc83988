"""The open set of metrics, and how some of them are chosen by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ensembles.errors import UsageError
from ensembles.metrics.base import Metric
from ensembles.open_set import OpenSet

if TYPE_CHECKING:
    from ensembles.tasks.base import Task

__all__ = ["METRICS", "read", "require"]

METRICS: OpenSet[Metric] = OpenSet(
    "metric",
    "ensembles.metrics",
    "ensembles.metrics.members",
    first=("top1", "loss", "top5", "kl", "agreement"),
    base="ensembles.metrics.base:Metric",
)
"""All metrics by name, as instances."""


def read(chosen: str | Metric | Iterable[str | Metric]) -> tuple[Metric, ...]:
    """Metrics from names, in the order in which they are given.

    Args:
        chosen: Names of :data:`METRICS`, or metrics themselves; one alone need not be in a list.

    Raises:
        UsageError: If a name is unknown, given twice or no metric, if two metrics have a column of
            one name, or if there is none at all.

    >>> [metric.name for metric in read(("top1", "loss"))]
    ['top1', 'loss']
    """
    if isinstance(chosen, str) or not isinstance(chosen, Iterable):
        chosen = (chosen,)
    found = tuple(_metric(one) for one in chosen)
    if not found:
        known = ", ".join(METRICS.names())
        raise UsageError(f"no metric is named; expected one or more of {known}")
    _refuse_twins(found)
    return found


def _metric(one: str | Metric) -> Metric:
    found: object = METRICS.get(one) if isinstance(one, str) else one
    if not isinstance(found, Metric):
        where = f"metric '{one}' is" if isinstance(one, str) else "found among the metrics"
        raise UsageError(
            f"{where} {_described(found)}; expected a name, or an instance of a subclass of "
            "ensembles.metrics.Metric"
        )
    return found


def _described(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}, no instance of it"
    return f"a {type(value).__name__}"


def _refuse_twins(metrics: Iterable[Metric]) -> None:
    """Refuse two metrics of one name, or with a column of one name."""
    names: set[str] = set()
    owners: dict[str, str] = {}
    for metric in metrics:
        if metric.name in names:
            raise UsageError(f"metric '{metric.name}' is named twice; name it once")
        names.add(metric.name)
        for column in metric.columns:
            owner = owners.setdefault(column.name, metric.name)
            if owner != metric.name:
                raise UsageError(
                    f"the metrics '{owner}' and '{metric.name}' both have a column "
                    f"'{column.name}'; measure one at a time, or rename the column"
                )


def require(metrics: Iterable[Metric], task: Task, classes: int | None = None) -> None:
    """Hold metrics against a task before anything runs.

    Args:
        metrics: The metrics.
        task: What is asked of the network.
        classes: Between how many classes it chooses, where known.

    Raises:
        UsageError: If a metric has no meaning for the task, or for so many classes.
    """
    for metric in metrics:
        if metric.tasks and task.name not in metric.tasks:
            raise UsageError(
                f"metric '{metric.name}' has no meaning for the task '{task.name}', only for "
                f"{' and '.join(metric.tasks)}; leave it out"
            )
        if classes is not None:
            metric.size(classes)
