"""What a store holds, as tidy tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ensembles.engine.outcome import Outcome
from ensembles.lesions import Lesion, parse_lesion
from ensembles.store.context import Context
from ensembles.store.rows import outcome_of
from ensembles.tables.frames import lesion_frame

if TYPE_CHECKING:
    from ensembles.store.reader import Reader

__all__ = ["class_frame", "frame", "stored_outcomes"]

_NAMES = ["lesion", "count", "blocks", "trial", "seed"]


def frame(store: Reader, context: Context, lesions: Iterable[Lesion] | None) -> pd.DataFrame:
    """The rows of a context as `lesion_frame` lays them out; `attrs["runs"]` tells of each run."""
    about, runs = context.about, store.provenance(context)
    table = lesion_frame(
        stored_outcomes(store, context, lesions),
        [name for name, _ in context.key.blocks],
        len(context.key.blocks),
        {int(block): text for block, text in about["adapted"].items()},
        runs[0] if runs else None,
        model=about["model"],
        dataset=about["dataset"],
        classes=about["num_classes"],
        transitions=about["transitions"],
    )
    table.attrs["runs"] = runs
    return table


def stored_outcomes(
    store: Reader, context: Context, lesions: Iterable[Lesion] | None
) -> list[Outcome]:
    """What is known of lesions, each under its own trial and seed, in their order."""
    counts, classes = store.counts(context), int(context.about["num_classes"])
    wanted = _asked(store, context) if lesions is None else lesions
    found = ((one, counts.get((one.kind, one.text))) for one in wanted)
    return [outcome_of(one, row, classes) for one, row in found if row is not None]


def _asked(store: Reader, context: Context) -> list[Lesion]:
    """Every lesion under every draw that it was asked for by, in a fixed order."""
    lesions = (
        parse_lesion(kind, text, None if trial is None or seed is None else (trial, seed))
        for kind, text, trial, seed in store.drawn(context)
    )
    return sorted(lesions, key=_place)


def _place(one: Lesion) -> tuple[object, ...]:
    draw = (-1, -1) if one.draw is None else (one.draw.seed, one.draw.trial)
    return one.kind != "none", one.kind, one.count, draw, one.blocks, one.text


def class_frame(store: Reader, context: Context, lesions: Iterable[Lesion] | None) -> pd.DataFrame:
    """One row for each lesion and class."""
    outcomes = [o for o in stored_outcomes(store, context, lesions) if o.class_correct is not None]
    classes = int(context.about["num_classes"])
    names = context.about["classes"] or [str(number) for number in range(classes)]
    totals = np.bincount(store.labels(context), minlength=classes)
    each = lesion_frame(outcomes, [name for name, _ in context.key.blocks], len(context.key.blocks))
    table = each[_NAMES].loc[each.index.repeat(classes)].reset_index(drop=True)
    table["class"] = pd.Series(list(names) * len(each), dtype="str")
    counts = [count for outcome in outcomes for count in outcome.class_correct or ()]
    table["correct"] = pd.Series(counts, dtype="int64")
    table["total"] = pd.Series(np.tile(totals, len(each)), dtype="int64")
    return table
