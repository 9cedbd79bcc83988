"""What a store holds of lesions, as tidy tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ensembles.errors import UsageError
from ensembles.garbage import collection_paused
from ensembles.lesions import Draw, Intact, Lesion
from ensembles.metrics import Metric, read
from ensembles.store.contexts import number_of
from ensembles.store.kept_metrics import USUAL, known_here, names_of
from ensembles.store.key import Context
from ensembles.store.lesions import Name, Names, drawn_of, lesions_of, numbers_of
from ensembles.store.numbers import Observed
from ensembles.store.outcomes import outcome_of
from ensembles.store.runs import runs_of
from ensembles.store.seals import DamageError
from ensembles.store.states import State, states_by_lesion
from ensembles.tables.frames import lesion_frame
from ensembles.tasks import TASKS
from ensembles.tasks.base import Task

if TYPE_CHECKING:
    from ensembles.store.connection import Connection

__all__ = ["class_table", "lesion_table"]

Chosen = str | Metric | Iterable[str | Metric] | None
Materials = Mapping[Lesion, str] | None

_SHORT = 12
_OF_A_CLASS = ["lesion", "count", "blocks", "trial", "seed"]
_PIECES = re.compile(r"(\d+)")


class _Row(NamedTuple):
    """A lesion under one of its draws."""

    lesion: Lesion
    number: int
    material: str


@collection_paused()
def lesion_table(
    connection: Connection,
    context: Context,
    lesions: Iterable[Lesion] | None,
    metrics: Chosen,
    materials: Materials,
) -> pd.DataFrame:
    """The rows of a context as `lesion_frame` lays them out; `attrs["runs"]` tells of each run."""
    number = number_of(connection, context)
    asked = None if metrics is None else read(metrics)
    names = None if asked is None else names_of(asked)
    states = states_by_lesion(connection, number, names)
    there = {row for row, kept in states.items() if names is None or len(kept) == len(names)}
    rows = _shown(connection, number, lesions, materials, there)
    chosen = _common(rows, states) if names is None else names
    wanted = set(chosen)
    rows = [row for row in rows if states[row.number].keys() >= wanted]
    connection.guarded(_check_blocks, rows, len(context.key.blocks))
    numbers = connection.guarded(
        Observed(context).numbers, {row.number: states[row.number] for row in rows}
    )
    outcomes = [
        outcome_of(row.lesion, states[row.number], numbers[row.number], chosen) for row in rows
    ]
    about, runs = context.about, runs_of(connection, number)
    table = lesion_frame(
        outcomes,
        names=[name for name, _ in context.key.blocks],
        metrics=chosen if asked is None else asked,
        stand_ins={int(block): text for block, text in about["adapted"].items()},
        transitions=about["transitions"],
        classes=context.classes,
        task=_task(context),
        model=about["model"],
        dataset=about["dataset"],
        provenance=runs[0] if runs else None,
    )
    several = any(row.material for row in rows)
    if several and len({(row.lesion, row.lesion.draw) for row in rows}) < len(
        {tuple(row) for row in rows}
    ):
        column = pd.Series([row.material[:_SHORT] for row in rows], dtype="str")
        table.insert(list(table.columns).index("adapted"), "material", column)
    table.attrs |= {"analysis": "lesion", "runs": runs}
    return table


def class_table(
    connection: Connection, context: Context, lesions: Iterable[Lesion] | None, materials: Materials
) -> pd.DataFrame:
    """One row for each lesion and class."""
    number, classes = number_of(connection, context), context.classes
    states = states_by_lesion(connection, number, ["classes"])
    rows = _shown(connection, number, lesions, materials, set(states))
    observed = Observed(context)
    numbers = connection.guarded(observed.numbers, {row.number: states[row.number] for row in rows})
    outcomes = [
        outcome_of(row.lesion, states[row.number], numbers[row.number], ["classes"]) for row in rows
    ]
    named = context.about["classes"] or []
    names = [*named[:classes], *map(str, range(len(named), classes))] if rows else []
    totals = connection.guarded(lambda: observed.per_class)
    blocks = [name for name, _ in context.key.blocks]
    connection.guarded(_check_blocks, rows, len(blocks))
    each = lesion_frame(outcomes, names=blocks, metrics="classes")
    table = each[_OF_A_CLASS].loc[each.index.repeat(classes)].reset_index(drop=True)
    table["class"] = pd.Series(list(names) * len(each), dtype="str")
    counts = [count for outcome in outcomes for count in outcome.class_correct or ()]
    table["correct"] = pd.Series(counts, dtype="int64")
    table["total"] = pd.Series(np.tile(totals, len(each)), dtype="int64")
    return table


def _shown(
    connection: Connection,
    context: int,
    lesions: Iterable[Lesion] | None,
    materials: Materials,
    there: set[int],
) -> list[_Row]:
    """The rows of a table: the intact network first, then the others in their order."""
    names = {name: row for name, row in lesions_of(connection, context).items() if row in there}
    if lesions is None:
        return sorted(_drawn(connection, context, names), key=_place)
    given = list(lesions)
    of = {row: name.material for name, row in names.items()}
    rows = [
        _Row(one, number, of[number])
        for one, number in zip(given, numbers_of(names, given, materials), strict=True)
        if number is not None
    ]
    return sorted(rows, key=lambda row: not isinstance(row.lesion, Intact))


def _check_blocks(rows: Iterable[_Row], blocks: int) -> None:
    """Refuse lesions of blocks that the network does not have; such were never measured."""
    for row in rows:
        named = row.lesion.blocks
        if named and not 1 <= named[0] <= named[-1] <= blocks:
            raise DamageError(
                f"lesion {str(row.lesion)[:60]!r} is of other blocks than the {blocks} that the "
                "network has"
            )


def _drawn(connection: Connection, context: int, names: Mapping[Name, int]) -> Iterable[_Row]:
    """Every lesion under every draw that it was asked for by."""
    by_number, reader = {row: name for name, row in names.items()}, Names()
    for drawn in drawn_of(connection, context):
        name = by_number.get(drawn.lesion)
        if name is None:
            continue
        draw = None if drawn.trial is None or drawn.seed is None else Draw(drawn.trial, drawn.seed)
        one = reader.lesion(name.kind, name.text, draw)
        if one is not None:
            yield _Row(one, drawn.lesion, name.material)


def _place(row: _Row) -> tuple[Any, ...]:
    one = row.lesion
    draw = (-1, -1) if one.draw is None else (one.draw.seed, one.draw.trial)
    pieces = _PIECES.split(one.text)
    numbers = tuple(int(piece) for piece in pieces[1::2])
    return not isinstance(one, Intact), one.kind, one.count, draw, numbers, one.text, row.number


def _common(rows: Iterable[_Row], states: Mapping[int, Mapping[str, State]]) -> tuple[str, ...]:
    """The usual metrics, and the others that give numbers and were measured of all lesions."""
    each = [states[row.number].keys() for row in rows]
    common = set.intersection(*map(set, each)) if each else set(USUAL)
    found = [metric.name for metric in known_here(common) if _gives_numbers(metric)]
    return tuple(sorted(found, key=lambda name: name not in USUAL)) or USUAL


def _gives_numbers(metric: Metric) -> bool:
    return all(column.type not in ("counts", "numbers") for column in metric.columns)


def _task(context: Context) -> Task | None:
    with suppress(UsageError):
        return TASKS.get(context.key.task.partition(" ")[0])
    return None
