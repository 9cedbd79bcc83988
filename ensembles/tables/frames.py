"""Tidy tables of lesions from what a sweep measured, and several tables in one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from ensembles.lesions.steps import Bypass
from ensembles.metrics import read
from ensembles.tables.columns import describe, restore, series
from ensembles.tables.schema import LESION_COLUMNS, WHOLE, Attributes

if TYPE_CHECKING:  # a saved table is read and drawn without torch
    from ensembles.lesions import Lesion
    from ensembles.metrics import Metric, Outcome
    from ensembles.tasks import Task

__all__ = ["lesion_frame", "stack_frames"]

_FIRST = ("lesion", "count", "blocks", "block_names", "kendall_tau", "trial", "seed")
_MEASURED = ("correct", "total", "error", "loss")
_LAST = ("nonfinite", "adapted")


def lesion_frame(
    outcomes: Iterable[Outcome],
    *,
    names: Sequence[str],
    metrics: str | Metric | Iterable[str | Metric] = ("top1", "loss"),
    stand_ins: Mapping[int, str] | None = None,
    transitions: Iterable[int] = (),
    classes: int | None = None,
    task: Task | None = None,
    model: str | None = None,
    dataset: str | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Lay out the outcomes of a sweep as a table, one row a lesion, the intact network first.

    Args:
        outcomes: What was measured.
        names: Name of each block of the network, in order.
        metrics: The metrics whose columns the table has, in this order.
        stand_ins: For blocks that change the shape and have no shortcut to keep: what stands in
            for them when they are deleted.
        transitions: Numbers of the blocks whose shortcut is not the identity.
        classes: Between how many classes the network chooses; tells the values of a network that
            guesses.
        task: What was asked of the network.
        model: Name of the network, for legends.
        dataset: Name of the data, for legends.
        provenance: Where, when and with what the outcomes were made.

    Returns:
        The columns of :data:`ensembles.tables.schema.LESION_COLUMNS`, as far as they were measured,
        with those of further metrics before ``nonfinite``. ``attrs`` holds ``provenance``,
        ``blocks``, ``transitions``, ``adapted`` (name of each such block in the sweep, and its
        stand-in) and, where known, the other keys of
        :class:`ensembles.tables.schema.Attributes`.

    Raises:
        UsageError: A metric is unknown, or was not measured.
    """
    chosen, adapted = read(metrics), stand_ins or {}
    types = _types(chosen)
    ordered = sorted(outcomes, key=lambda one: not _is_whole(one.lesion))
    deleted = [_adapted(outcome.lesion, len(names), adapted) for outcome in ordered]
    columns = _columns(ordered, names, chosen)
    columns["adapted"] = [" ".join([names[one - 1] for one in blocks]) for blocks in deleted]
    frame = pd.DataFrame({name: series(columns[name], dtype) for name, dtype in types.items()})
    touched = {block for blocks in deleted for block in blocks}
    chances = _chances(chosen, classes)
    found = Attributes(
        metrics=tuple(metric.name for metric in chosen),
        task=task.name if task else None,
        observation=task.observation if task else None,
        model=model,
        dataset=dataset,
        chance=chances.get("error"),
        chances={name: value for name, value in chances.items() if name != "error"},
    )
    frame.attrs.update(
        provenance=dict(provenance or {}),
        blocks=len(names),
        transitions=sorted(transitions),
        adapted={names[one - 1]: adapted[one] for one in sorted(touched)},
        **found.written(),
    )
    return frame


def stack_frames(frames: Sequence[pd.DataFrame], *, always: bool = False) -> pd.DataFrame:
    """Put the tables of several networks into one, so that one file holds them.

    Args:
        frames: A table for each network; those whose columns differ have gaps in the whole.
        always: Whether a single table is treated as several are.

    Returns:
        The rows of all, after a first column ``model``; ``attrs["networks"]`` holds the number
        of ``rows``, the ``attrs`` and the ``columns`` of each. A single table comes back as it is
        otherwise.
    """
    if len(frames) == 1 and not always:
        return frames[0]
    types = [describe(frame) for frame in frames]
    parts = []
    for frame, own in zip(frames, types, strict=True):
        part = frame.copy()
        for name, dtype in _all_columns(types).items():
            if name not in own:
                part[name] = _gaps(len(frame), dtype)
        part = part[list(_all_columns(types))]
        if "model" not in part.columns:
            part.insert(0, "model", str(frame.attrs.get("model", "")))
        part.attrs = {}
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    table.attrs = {
        "networks": [
            {"rows": len(frame), "attrs": dict(frame.attrs), "columns": own}
            for frame, own in zip(frames, types, strict=True)
        ]
    }
    return table


def _types(metrics: Sequence[Metric]) -> dict[str, str]:
    """The columns of a table of lesions, in order, and what each holds."""
    measured = {column.name: str(column.type) for metric in metrics for column in metric.columns}
    measured["total"] = "integer"
    always = {name: kind for name, (kind, _) in LESION_COLUMNS.items()}
    return {
        **{name: always[name] for name in _FIRST},
        **{name: measured[name] for name in _MEASURED if name in measured},
        **{name: kind for name, kind in measured.items() if name not in _MEASURED},
        **{name: always[name] for name in _LAST},
    }


def _is_whole(lesion: Lesion) -> bool:
    of, text = WHOLE  # most texts are not asked for
    return of == lesion.kind and text == lesion.text


def _columns(
    outcomes: Sequence[Outcome], names: Sequence[str], metrics: Sequence[Metric]
) -> dict[str, list[Any]]:
    """The columns of lesions and metrics, a value an outcome."""
    lesions, n = [outcome.lesion for outcome in outcomes], len(names)
    draws = [(None, None) if one.draw is None else one.draw for one in lesions]
    measured = [outcome.row_of(metrics) for outcome in outcomes]
    return {
        "lesion": [one.kind for one in lesions],
        "count": [one.count for one in lesions],
        "blocks": [one.text for one in lesions],
        "block_names": [one.described(names) for one in lesions],
        "kendall_tau": [one.kendall_tau(n) for one in lesions],
        "trial": [trial for trial, _ in draws],
        "seed": [seed for _, seed in draws],
        "total": [outcome.total for outcome in outcomes],
        "nonfinite": [outcome.nonfinite for outcome in outcomes],
        **{
            column.name: [row[column.name] for row in measured]
            for metric in metrics
            for column in metric.columns
        },
    }


def _adapted(lesion: Lesion, n: int, stand_ins: Mapping[int, str]) -> list[int]:
    """The blocks that run without their branch while something stands in for their shape."""
    if stand_ins.keys().isdisjoint(lesion.blocks):
        return []
    steps = [step for position in lesion.program(n) for step in position]
    bypassed = {step.block for step in steps if isinstance(step, Bypass)}
    return sorted(bypassed & set(stand_ins))


def _chances(metrics: Sequence[Metric], classes: int | None) -> dict[str, float]:
    if not classes:
        return {}
    return {name: one for metric in metrics for name, one in metric.chance(classes).items()}


def _all_columns(types: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The columns of all tables, each behind the one that it follows in its own."""
    found: dict[str, str] = {}
    for own in types:
        order, place = list(found), 0
        for name in own:
            if name in found:
                place = order.index(name) + 1
            else:
                order.insert(place, name)
                place += 1
        found = {name: found.get(name) or own[name] for name in order}
    return found


def _gaps(rows: int, dtype: str) -> pd.Series[Any]:
    return restore([None] * rows, "nullable" if dtype == "integer" else dtype)
