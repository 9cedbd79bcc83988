"""Lesions are run over data: shared prefixes, devices, precision, memory.

Everything is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensembles.engine.devices import (
        PRECISIONS,
        choose_device,
        default_batch_size,
        device_name,
        sweep_batch_size,
    )
    from ensembles.engine.evaluation import check_lesions, evaluate, evaluate_each
    from ensembles.engine.lesioned_network import lesioned_module
    from ensembles.engine.materials import Materials
    from ensembles.engine.plain_model import count_correct

__all__ = [
    "PRECISIONS",
    "Materials",
    "check_lesions",
    "choose_device",
    "count_correct",
    "default_batch_size",
    "device_name",
    "evaluate",
    "evaluate_each",
    "lesioned_module",
    "sweep_batch_size",
]

_HOMES = {
    "PRECISIONS": "devices",
    "Materials": "materials",
    "check_lesions": "evaluation",
    "choose_device": "devices",
    "count_correct": "plain_model",
    "default_batch_size": "devices",
    "device_name": "devices",
    "evaluate": "evaluation",
    "evaluate_each": "evaluation",
    "lesioned_module": "lesioned_network",
    "sweep_batch_size": "devices",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ensembles.engine' has no attribute '{name}'")
    return getattr(import_module(f"ensembles.engine.{_HOMES[name]}"), name)
