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
    from ensembles.checkpoints import load
    from ensembles.data import dataset
    from ensembles.decomposition import decompose
    from ensembles.errors import EnsemblesError
    from ensembles.models import create_model, list_models
    from ensembles.results.paths import paths
    from ensembles.results.sweep import lesion

__all__ = [
    "EnsemblesError",
    "create_model",
    "dataset",
    "decompose",
    "lesion",
    "list_models",
    "load",
    "paths",
]
__version__ = "0.1.0"

_HOMES = {
    "EnsemblesError": "ensembles.errors",
    "create_model": "ensembles.models",
    "dataset": "ensembles.data",
    "decompose": "ensembles.decomposition",
    "lesion": "ensembles.results.sweep",
    "list_models": "ensembles.models",
    "load": "ensembles.checkpoints",
    "paths": "ensembles.results.paths",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ensembles' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
