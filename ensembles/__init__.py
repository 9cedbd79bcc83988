"""Take trained networks apart: lesions, and all 2^n paths.

    import ensembles
    model, card = ensembles.load("resnet110")
    data = ensembles.dataset("digits", split="test")
    images, labels = next(data.batches(16))
    net = ensembles.decompose(model, images)
    frame = ensembles.lesion(net, data)
    spectrum = ensembles.paths(net, data, images=16)

Everything is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensembles.analyses.effective_paths import effective_paths
    from ensembles.analyses.lesion import lesion
    from ensembles.analyses.paths import PathOptions, count_paths, path_ranges, paths
    from ensembles.checkpoints import load
    from ensembles.data import dataset
    from ensembles.decomposition import decompose
    from ensembles.errors import EnsemblesError
    from ensembles.models import create_model, list_models
    from ensembles.plots.paths import plot_paths

__all__ = [
    "EnsemblesError",
    "PathOptions",
    "count_paths",
    "create_model",
    "dataset",
    "decompose",
    "effective_paths",
    "lesion",
    "list_models",
    "load",
    "path_ranges",
    "paths",
    "plot_paths",
]
__version__ = "0.1.0"

_HOMES = {
    "EnsemblesError": "ensembles.errors",
    "PathOptions": "ensembles.analyses.paths",
    "count_paths": "ensembles.analyses.paths",
    "create_model": "ensembles.models",
    "dataset": "ensembles.data",
    "decompose": "ensembles.decomposition",
    "effective_paths": "ensembles.analyses.effective_paths",
    "lesion": "ensembles.analyses.lesion",
    "list_models": "ensembles.models",
    "load": "ensembles.checkpoints",
    "path_ranges": "ensembles.analyses.paths",
    "paths": "ensembles.analyses.paths",
    "plot_paths": "ensembles.plots.paths",
}


def __getattr__(name: str) -> Any:
    if name == "lesions":
        return import_module("ensembles.lesions")
    if name not in _HOMES:
        raise AttributeError(f"module 'ensembles' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
