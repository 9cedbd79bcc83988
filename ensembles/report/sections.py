"""A section for any table of results: the figures that suit it, its numbers, its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ensembles.analyses.kinds import ANALYSES, AnyAnalysis, analysis_by_columns
from ensembles.cards import card_name
from ensembles.errors import UsageError
from ensembles.plots.panels import plot_lesions
from ensembles.report.lesion_tables import lesion_tables
from ensembles.report.parts import Drawing, Section, Table, number, percent, table
from ensembles.report.svg import drawing
from ensembles.tables.metric_columns import column_of, number_columns
from ensembles.tables.networks import split_frames
from ensembles.tables.readings import read_rows
from ensembles.tables.schema import Attributes, is_lesion_table

__all__ = ["section_of"]

_UNSHOWN = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError,
)  # fmt: skip
"""What is raised for a table whose values are not what its columns promise."""

_LACKING = (UsageError, KeyError)
"""What is raised for a table that lacks something: lesions, a column, an attribute."""


def section_of(frame: pd.DataFrame, name: str) -> Section:
    """Make a section of the table of any analysis, or of anything else.

    Args:
        frame: A table as :func:`ensembles.tables.read_frame` reads it.
        name: What to call it, such as its file.

    Returns:
        The figures that suit it, its numbers, the command that made it, its provenance.

    Raises:
        UsageError: If it cannot be shown, as a table from another hand whose columns hold something
            else than their names say.
    """
    try:
        return _section_of(frame, name)
    except _UNSHOWN as error:
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise UsageError(
            f"results {name}: cannot be shown ({why}); expected a table as ensembles wrote it"
        ) from error


def _section_of(frame: pd.DataFrame, name: str) -> Section:
    key, networks = card_name(name), split_frames(frame)
    analysis, missing = _analysis_of(networks[0])
    found = [Attributes.of(one).provenance for one in networks]
    text = [*_about(networks), *missing]
    tables: list[Table] = []
    for one in networks:
        if analysis is not None:
            text += [_sentence(line, _name(one, networks)) for line in _notes(analysis, one)]
            tables += _views(analysis, one, networks)
        tables += _numbers(analysis, one, networks)
    return Section(
        key,
        name,
        tuple(text),
        _drawings(analysis, networks, key),
        tuple(tables),
        str(found[0].get("command", "")),
        found[0] if len(found) == 1 else _provenances(networks),
    )


def _analysis_of(frame: pd.DataFrame) -> tuple[AnyAnalysis | None, list[str]]:
    """The analysis that made a table, and a line where it is not known here."""
    name = Attributes.of(frame).analysis
    if name is not None:
        try:
            return ANALYSES.get(name), []
        except UsageError as error:
            return None, [f"Shown as a table alone: {error}."]
    return analysis_by_columns(frame), []


def _drawings(
    analysis: AnyAnalysis | None, networks: Sequence[pd.DataFrame], key: str
) -> tuple[Drawing, ...]:
    """The figure of all networks, or one for each; and one for each further measure of lesions."""
    if analysis is None:
        return ()
    together = _drawn(analysis, networks, key)
    found = [together] if together else []
    if not found and len(networks) > 1:
        each = (_drawn(analysis, [one], f"{key}-{i}") for i, one in enumerate(networks))
        found = [one for one in each if one]
    measures = [n for one in networks if is_lesion_table(one) for n in number_columns(one)]
    for place, column in enumerate(dict.fromkeys(measures)):
        holding = [one for one in networks if column in one.columns]
        try:
            figure = plot_lesions(holding, metric=column)
        except _LACKING:
            continue
        told = column_of(column, holding[0])
        label = told.label if told else column.replace("_", " ")
        found.append(drawing(figure, f"{key}-m{place}", f"{label} of {_names(holding)}."))
    return tuple(found)


def _drawn(analysis: AnyAnalysis, networks: Sequence[pd.DataFrame], key: str) -> Drawing | None:
    try:
        figure = analysis.draw(networks)
    except _LACKING:
        return None
    return drawing(figure, key, f"{_names(networks)}: {analysis.summary.rstrip('.')}.")


def _notes(analysis: AnyAnalysis, frame: pd.DataFrame) -> list[str]:
    try:
        return analysis.notes(frame)
    except _LACKING:
        return []


def _views(
    analysis: AnyAnalysis, frame: pd.DataFrame, networks: Sequence[pd.DataFrame]
) -> list[Table]:
    """The further tables that an analysis makes of a table."""
    try:
        views = analysis.views(frame)
    except _LACKING:
        return []
    of = _of(frame, networks)
    return [table(_written(view), f"{title}{of}") for title, view in views.items() if len(view)]


def _numbers(
    analysis: AnyAnalysis | None, frame: pd.DataFrame, networks: Sequence[pd.DataFrame]
) -> list[Table]:
    """The table itself."""
    if is_lesion_table(frame):
        return list(lesion_tables(frame))
    shown = analysis.shown if analysis is not None else ()
    names = [name for name in shown if name in frame.columns] or list(frame.columns)
    kept = frame[[name for name in names if not frame[name].isna().all()]]
    caption = f"{len(frame):,} rows{_of(frame, networks)}"
    return [table(_written(kept), caption, folded=analysis is not None)]


def _written(frame: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers beyond what a table sorts, as texts: 1.801e+16."""
    large = {
        name: frame[name].map(_count)
        for name in frame.columns
        if frame[name].dtype == object and len(frame) and frame[name].map(_is_whole).all()
    }
    return frame.assign(**large)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any) -> str:
    if abs(value) < 10**15:
        return number(value)
    return f"{float(value):.4g}" if abs(value) < 10**300 else f"10^{len(str(abs(value))) - 1}"


def _about(networks: Sequence[pd.DataFrame]) -> list[str]:
    lines = []
    for frame in networks:
        found = Attributes.of(frame)
        data = found.dataset or found.provenance.get("dataset")
        words = [found.model or "", f"on {data}" if data else "", _counted(frame, found)]
        text = " ".join(word for word in words if word)
        if is_lesion_table(frame) and "error" in frame.columns:
            whole = [one.is_intact and not one.recalibrated for one in read_rows(frame)]
            for intact in frame.loc[whole, "error"][:1]:
                text += f"{': ' if text else ''}intact error {percent(float(intact))} %"
        if text:
            lines.append(text + ".")
    return lines


def _counted(frame: pd.DataFrame, found: Attributes) -> str:
    """How many rows of the data a table is of; older ones tell all rows in their provenance."""
    made = found.provenance
    noun = next((one for one in ("windows", "texts", "images") if made.get(one)), None)
    if noun is None:
        return ""
    used, total = made[noun], made.get(f"{noun}_total", made[noun])
    own = frame.attrs.get("rows")
    used = own if isinstance(own, int) and 0 < own < used else used
    of = "" if used == total else f" of {number(total)}"
    return f"({number(used)}{of} {noun if total != 1 else noun[:-1]})"


def _provenances(networks: Sequence[pd.DataFrame]) -> Mapping[str, Any]:
    """That of each network, by its name and number."""
    return {
        f"{frame.attrs.get('model', 'network')} ({place}):": Attributes.of(frame).provenance
        for place, frame in enumerate(networks, 1)
    }


def _sentence(line: str, name: str) -> str:
    """A note as a sentence, behind the network's name where there are several."""
    return f"{name or line[:1].upper()}{line if name else line[1:]}".rstrip(".") + "."


def _names(networks: Sequence[pd.DataFrame]) -> str:
    names = dict.fromkeys(Attributes.of(one).model or "a network" for one in networks)
    return ", ".join(names)


def _name(frame: pd.DataFrame, networks: Sequence[pd.DataFrame]) -> str:
    return f"{_names([frame])}: " if len(networks) > 1 else ""


def _of(frame: pd.DataFrame, networks: Sequence[pd.DataFrame]) -> str:
    return f", {_names([frame])}" if len(networks) > 1 or Attributes.of(frame).model else ""
