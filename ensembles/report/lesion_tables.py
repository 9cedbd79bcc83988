"""Tables of a report for lesions of any kind, under any measures."""

from __future__ import annotations

import pandas as pd

from ensembles.report.parts import Table, table
from ensembles.statistics import error_intervals, rank_correlations, summary_by_count
from ensembles.tables.columns import describe
from ensembles.tables.metric_columns import column_of, number_columns
from ensembles.tables.networks import split_frames
from ensembles.tables.readings import Reading, lesioned, read_rows, varied_settings
from ensembles.tables.schema import Attributes

__all__ = ["lesion_tables"]

_ASIDE = ("count", "block_names", "kendall_tau", "trial", "seed", "nonfinite", "adapted")
"""Columns that a list of lesions goes without."""


def lesion_tables(frame: pd.DataFrame) -> tuple[Table, ...]:
    """Lesions as tables: quartiles by size, rank correlations, and every lesion.

    Args:
        frame: Lesions of one network, or of several in one table.

    Returns:
        Those of each network.
    """
    return tuple(part for one in split_frames(frame) for part in _tables(one))


def _tables(frame: pd.DataFrame) -> tuple[Table, ...]:
    model = Attributes.of(frame).model
    of = f", {model}" if model else ""
    measures = [name for name in ("error", "loss", *number_columns(frame)) if name in frame.columns]
    cut = lesioned(frame)
    if cut.empty or not measures:
        return (_every(frame, of),)
    chosen = [name for name in measures if name != "loss"] or measures
    studies = cut.assign(lesion=_studies(cut))
    parts = [_quartiles(studies, name, of) for name in chosen]
    several = studies.groupby("lesion")["count"].nunique().max() > 1
    if "kendall_tau" in frame.columns and several:
        parts += [_ranks(studies, name, of) for name in chosen[:1]]
    return (*parts, _every(frame, of))


def _studies(cut: pd.DataFrame) -> list[str]:
    """The kind of each lesion, with the settings that set it apart from others in the table."""
    readings = read_rows(cut)
    groups: dict[str, list[Reading]] = {}
    for reading in readings:
        groups.setdefault(reading.kind, []).append(reading)
    varied = {name: varied_settings(alike) for name, alike in groups.items()}
    words = [
        (one.kind, one.said(varied[one.kind]), "recalibrated" if one.recalibrated else "")
        for one in readings
    ]
    return [", ".join(filter(None, each)) for each in words]


def _quartiles(cut: pd.DataFrame, measure: str, of: str) -> Table:
    """Quartiles of a measure by kind and size; closed for all but the error."""
    found = summary_by_count(cut, measure)
    found = found.rename(columns={"n": "lesions", "nonfinite": "not finite"})
    if not found["not finite"].any():
        found = found.drop(columns="not finite")
    caption = f"{_label(measure)} by number of blocks or swaps{of}: quartiles"
    if measure == "error":
        return _percentages(found, ("q1", "median", "q3"), caption, folded=False)
    return table(found, caption, folded=True)


def _ranks(cut: pd.DataFrame, measure: str, of: str) -> Table:
    ranks = rank_correlations(cut, column=measure).rename(columns={"low": "from", "high": "to"})
    return table(
        ranks.dropna(subset="value"),
        f"Rank correlation of the {_label(measure).lower()} with the size of the lesion{of}, "
        "95 % interval",
        formats=dict.fromkeys(("value", "from", "to"), "{:.3f}".format),
    )


def _every(frame: pd.DataFrame, of: str) -> Table:
    """Every lesion with all its measures."""
    others = [name for name in ("loss", *number_columns(frame)) if name in frame.columns]
    taus = frame["kendall_tau"][frame["lesion"] != "none"] if "kendall_tau" in frame else None
    ordered = ["kendall_tau"] if taus is not None and taus.nunique() > 1 else []
    if not {"error", "correct", "total"} <= set(frame.columns):
        lists = ("counts", "numbers")
        kept = [n for n, held in describe(frame).items() if n not in _ASIDE and held not in lists]
        return table(frame[kept], f"Every lesion{of}", folded=True)
    detail = error_intervals(frame).rename(columns={"error_low": "from", "error_high": "to"})
    names = ["lesion", "blocks", "correct", "total", "error", "from", "to", *others, *ordered]
    return _percentages(
        detail[names], ("error", "from", "to"), f"Every lesion{of}, with Wilson's 95 % interval"
    )


def _percentages(
    frame: pd.DataFrame, names: tuple[str, ...], caption: str, *, folded: bool = True
) -> Table:
    """A table with shares in per cent, which the head says."""
    shown = frame.assign(**{name: 100 * frame[name] for name in names})
    headed = {name: f"{name} %" for name in names}
    formats = dict.fromkeys(headed.values(), "{:.2f}".format)
    return table(shown.rename(columns=headed), caption, formats=formats, folded=folded)


def _label(measure: str) -> str:
    """What a measure is called in a heading."""
    if measure == "error":
        return "Error"
    found = column_of(measure)
    return found.label if found else measure.replace("_", " ")
