"""The open set of analyses: the built-in ones, and those that other packages bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ensembles.analyses.base import Analysis
from ensembles.errors import UsageError
from ensembles.open_set import OpenSet

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ANALYSES", "AnyAnalysis", "analysis_by_columns", "analysis_of"]

AnyAnalysis: TypeAlias = Analysis[Any]

ANALYSES: OpenSet[AnyAnalysis] = OpenSet(
    "analysis",
    "ensembles.analyses",
    "ensembles.analyses.members",
    first=("lesion", "paths"),
    base="ensembles.analyses.base:Analysis",
)
"""All analyses by name, as instances."""

_FEWEST = 0.25
"""The share of an analysis' columns by which its table is known."""


def analysis_of(frame: pd.DataFrame) -> AnyAnalysis:
    """The analysis that made a table: the one that it names, else the one of its columns.

    Raises:
        UsageError: If the table is of no analysis, or of one that is not installed here.
    """
    name = frame.attrs.get("analysis")
    if isinstance(name, str):
        return ANALYSES.get(name)
    found = analysis_by_columns(frame)
    if found is not None:
        return found
    columns = ", ".join(map(str, frame.columns)) or "none"
    raise UsageError(
        f"the table, with the columns {columns}, is of no analysis; expected one that "
        "ensembles.analyze, lesion or paths made"
    )


def analysis_by_columns(frame: pd.DataFrame) -> AnyAnalysis | None:
    """The analysis whose columns a table has, where its attributes are lost or of version 1.

    Returns:
        Of those whose rows are told apart by a column of the table, the one with the greatest share
        of its columns there; None where that is less than a fourth.
    """
    there = {str(name) for name in frame.columns}

    def share(member: AnyAnalysis) -> float:
        wanted = {*member.label, *member.shown}
        return len(wanted & there) / len(wanted)

    fitting = [one for one in ANALYSES.members().values() if there.intersection(one.label)]
    best = max(fitting, key=share, default=None)
    return best if best is not None and share(best) >= _FEWEST else None
