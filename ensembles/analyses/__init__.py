"""What is measured of a network on data: sweeps of lesions, paths, influence, and further analyses.

An analysis is one class in a file of its own: frozen options in, a tidy table out, a figure of that
table. The set is open: a program adds one by ``ANALYSES.register``, a package by an entry point of
the group ``ensembles.analyses``. Everything is imported when it is first used; no torch is needed
to list analyses or to draw a saved table.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensembles.analyses.base import Analysis, HeatMap, Options, Run, option
    from ensembles.analyses.influence_options import InfluenceOptions
    from ensembles.analyses.kinds import ANALYSES
    from ensembles.analyses.members.lesion import LesionOptions
    from ensembles.analyses.path_options import PathOptions

__all__ = [
    "ANALYSES", "Analysis", "HeatMap", "InfluenceOptions", "LesionOptions", "Options",
    "PathOptions", "Run", "option",
]  # fmt: skip

_HOMES = {
    "ANALYSES": "kinds",
    "Analysis": "base",
    "HeatMap": "base",
    "InfluenceOptions": "influence_options",
    "LesionOptions": "members.lesion",
    "Options": "base",
    "PathOptions": "path_options",
    "Run": "base",
    "option": "base",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ensembles.analyses' has no attribute '{name}'")
    return getattr(import_module(f"ensembles.analyses.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
