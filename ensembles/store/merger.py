"""One store is taken over into another."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping

from ensembles.store.analyses import analyses_of, enter_analysis
from ensembles.store.connection import Connection
from ensembles.store.contexts import all_contexts, enter_context
from ensembles.store.lesions import draws_of, enter_draws, enter_lesions, lesions_of
from ensembles.store.notes import all_notes, enter_notes
from ensembles.store.outcomes import Measured, Verdict, keep_measured
from ensembles.store.parts import PART
from ensembles.store.predictions import predictions_of
from ensembles.store.runs import all_runs, enter_run
from ensembles.store.states import states_by_lesion

__all__ = ["merge"]

Numbers = Mapping[int, int]
"""Numbers of rows in the source, and in the target."""


def merge(target: Connection, source: Connection) -> Counter[Verdict]:
    """Insert what is missing, in one transaction.

    Args:
        target: The store that grows.
        source: The store that is read.

    Returns:
        How many lesions and analyses were added, were there alike, and were there with other
        counts, which are kept.
    """
    with source.moment(), target.transaction(2 * source.path.stat().st_size) as raw:
        runs = {number: enter_run(raw, *run) for number, run in all_runs(source).items()}
        counted = Counter[Verdict]()
        for old, context in all_contexts(source).items():
            new = enter_context(raw, context)
            lesions = _copy_lesions(raw, source, old, new)
            counted += _copy_measured(raw, source, old, lesions, runs)
            counted += _copy_analyses(raw, source, old, new, runs)
        enter_notes(raw, [one for one in all_notes(source) if not one[0].startswith(PART)])
    return counted


def _copy_lesions(raw: sqlite3.Connection, source: Connection, old: int, new: int) -> Numbers:
    names = lesions_of(source, old)
    there = enter_lesions(raw, new, names)
    lesions = {number: there[name] for name, number in names.items()}
    draws = draws_of(source, old)
    enter_draws(raw, ((lesions[lesion], trial, seed) for lesion, trial, seed in draws))
    return lesions


def _copy_measured(
    raw: sqlite3.Connection, source: Connection, old: int, lesions: Numbers, runs: Numbers
) -> Counter[Verdict]:
    counted = Counter[Verdict]()
    predictions = {
        lesion: (runs[run], classes) for lesion, run, classes in predictions_of(source, old)
    }
    for lesion, states in states_by_lesion(source, old).items():
        moved = {name: state._replace(run=runs[state.run]) for name, state in states.items()}
        found = Measured(moved, predictions.get(lesion))
        counted[keep_measured(raw, lesions[lesion], found)] += 1
    return counted


def _copy_analyses(
    raw: sqlite3.Connection, source: Connection, old: int, new: int, runs: Numbers
) -> Counter[Verdict]:
    counted = Counter[Verdict]()
    for analysis in analyses_of(source, old):
        added = enter_analysis(raw, new, analysis._replace(run=runs[analysis.run]))
        counted[Verdict.NEW if added else Verdict.KNOWN] += 1
    return counted
