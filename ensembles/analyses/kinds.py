"""The open set of analyses: the built-in ones, and those that other packages bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ensembles.analyses.base import Analysis
from ensembles.errors import UsageError
from ensembles.open_set import OpenSet

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ANALYSES", "AnyAnalysis", "analysis_of"]

AnyAnalysis: TypeAlias = Analysis[Any]

ANALYSES: OpenSet[AnyAnalysis] = OpenSet(
    "analysis",
    "ensembles.analyses",
    "ensembles.analyses.members",
    first=("lesion", "paths"),
    base="ensembles.analyses.base:Analysis",
)
"""All analyses by name, as instances."""


def analysis_of(frame: pd.DataFrame) -> AnyAnalysis:
    """The analysis that made a table.

    Tables of version 1 do not name it; they are known by the column that tells their rows apart.

    Raises:
        UsageError: If the table is of no analysis, or of one that is not installed here.
    """
    name = frame.attrs.get("analysis")
    if isinstance(name, str):
        return ANALYSES.get(name)
    for member in ANALYSES.members().values():
        if member.label and member.label[-1] in frame.columns:
            return member
    columns = ", ".join(map(str, frame.columns)) or "none"
    raise UsageError(
        f"the table, with the columns {columns}, is of no analysis; expected one that "
        "ensembles.analyze, lesion or paths made"
    )
