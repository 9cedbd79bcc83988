"""The open set of analyses: the built-in ones, and those that other packages bring."""

from __future__ import annotations

from typing import Any, TypeAlias

from ensembles.analyses.base import Analysis
from ensembles.open_set import OpenSet

__all__ = ["ANALYSES", "AnyAnalysis"]

AnyAnalysis: TypeAlias = Analysis[Any]

ANALYSES: OpenSet[AnyAnalysis] = OpenSet(
    "analysis",
    "ensembles.analyses",
    {
        "lesion": "ensembles.analyses.lesion:LESION",
        "paths": "ensembles.analyses.paths:PATHS",
        "influence": "ensembles.analyses.influence:INFLUENCE",
    },
    base="ensembles.analyses.base:Analysis",
)
