"""Take trained networks apart: lesions, all 2^n paths, and what else is asked of their blocks.

    import ensembles
    model, card = ensembles.load("resnet110")
    data = ensembles.dataset("digits", split="test")
    images, labels = next(data.batches(16))
    net = ensembles.decompose(model, images)
    frame = ensembles.lesion(net, data)
    spectrum = ensembles.paths(net, data, images=16)
    table = ensembles.analyze(net, data, "influence")

Everything is imported when it is first used. The rooms of the library are its attributes too:
`ensembles.lesions`, `ensembles.metrics`, `ensembles.statistics` and so on.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ensembles.clone import find_neighbours
from ensembles.distribution import VERSION, OtherPackageWarning, other_package

if TYPE_CHECKING:
    from ensembles.analyses.analyze import analyze
    from ensembles.analyses.base import Analysis
    from ensembles.analyses.effective_paths import effective_paths
    from ensembles.analyses.members.lesion import lesion
    from ensembles.analyses.members.paths import PathOptions, count_paths, path_ranges, paths
    from ensembles.catalogue.structure import summary
    from ensembles.checkpoints import load
    from ensembles.data.any_data import dataset
    from ensembles.decomposition import Block, Decomposition, decompose, walk
    from ensembles.errors import EnsemblesError
    from ensembles.lesions import Choice, Lesion
    from ensembles.listings import (
        list_analyses,
        list_executors,
        list_lesions,
        list_metrics,
        list_tasks,
    )
    from ensembles.metrics import Metric, Outcome
    from ensembles.models import create_model, list_models
    from ensembles.plots import plot_analysis, plot_lesions
    from ensembles.plots.paths import plot_paths
    from ensembles.reproduction.capacity import capacity
    from ensembles.reproduction.family import family
    from ensembles.store import Store
    from ensembles.studies import Study, read_study
    from ensembles.studies import run as run_study
    from ensembles.tables import provenance, read_frame, write_frame
    from ensembles.tasks import Task

__all__ = [
    "Analysis",
    "Block",
    "Choice",
    "Decomposition",
    "EnsemblesError",
    "Lesion",
    "Metric",
    "Outcome",
    "PathOptions",
    "Store",
    "Study",
    "Task",
    "analyze",
    "capacity",
    "count_paths",
    "create_model",
    "dataset",
    "decompose",
    "effective_paths",
    "family",
    "lesion",
    "list_analyses",
    "list_executors",
    "list_lesions",
    "list_metrics",
    "list_models",
    "list_tasks",
    "load",
    "path_ranges",
    "paths",
    "plot_analysis",
    "plot_lesions",
    "plot_paths",
    "provenance",
    "read_frame",
    "read_study",
    "run_study",
    "summary",
    "walk",
    "write_frame",
]  # fmt: skip
__version__ = VERSION

_HOMES = {
    "Analysis": "ensembles.analyses.base",
    "Block": "ensembles.decomposition",
    "Choice": "ensembles.lesions",
    "Decomposition": "ensembles.decomposition",
    "EnsemblesError": "ensembles.errors",
    "Lesion": "ensembles.lesions",
    "Metric": "ensembles.metrics",
    "Outcome": "ensembles.metrics",
    "PathOptions": "ensembles.analyses.path_options",
    "Store": "ensembles.store",
    "Study": "ensembles.studies",
    "Task": "ensembles.tasks",
    "analyze": "ensembles.analyses.analyze",
    "capacity": "ensembles.reproduction.capacity",
    "count_paths": "ensembles.analyses.members.paths",
    "create_model": "ensembles.models",
    "dataset": "ensembles.data.any_data",
    "decompose": "ensembles.decomposition",
    "effective_paths": "ensembles.analyses.effective_paths",
    "family": "ensembles.reproduction.family",
    "lesion": "ensembles.analyses.members.lesion",
    "list_analyses": "ensembles.listings",
    "list_executors": "ensembles.listings",
    "list_lesions": "ensembles.listings",
    "list_metrics": "ensembles.listings",
    "list_models": "ensembles.models",
    "list_tasks": "ensembles.listings",
    "load": "ensembles.checkpoints",
    "path_ranges": "ensembles.analyses.members.paths",
    "paths": "ensembles.analyses.members.paths",
    "plot_analysis": "ensembles.plots",
    "plot_lesions": "ensembles.plots",
    "plot_paths": "ensembles.plots.paths",
    "provenance": "ensembles.tables",
    "read_frame": "ensembles.tables",
    "read_study": "ensembles.studies",
    "run_study": "ensembles.studies:run",
    "summary": "ensembles.catalogue.structure",
    "walk": "ensembles.decomposition",
    "write_frame": "ensembles.tables",
}
_ROOMS = frozenset({
    "analyses", "cards", "catalogue", "checkpoints", "cli", "data", "decomposition", "engine",
    "errors", "files", "lesions", "metrics", "models", "numerics", "open_set", "plots", "progress",
    "report", "reproduction", "statistics", "store", "studies", "tables", "tasks", "text",
    "training", "unravelling", "weights",
})  # fmt: skip


_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 (pathlib is not light)
find_neighbours(_HERE)
if _OTHER := other_package(os.path.dirname(_HERE)):  # noqa: PTH120
    import warnings

    warnings.warn(_OTHER, OtherPackageWarning, stacklevel=2)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"ensembles.{name}")
    if name not in _HOMES:
        from ensembles.errors import nearest  # noqa: PLC0415

        hint = nearest(name, __all__)
        raise AttributeError(f"module 'ensembles' has no attribute '{name}'{hint}")
    home, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(home), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS})
