"""Lesions are run over data: shared prefixes, devices, precision, memory.

Everything is imported when it is first used: what came of a lesion can be read without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensembles.engine.devices import PRECISIONS, choose_device, device_name
    from ensembles.engine.evaluation import check_lesions, default_batch_size, evaluate
    from ensembles.engine.isolation import evaluate_each
    from ensembles.engine.outcome import Outcome
    from ensembles.engine.plain_model import count_correct

__all__ = [
    "PRECISIONS",
    "Outcome",
    "check_lesions",
    "choose_device",
    "count_correct",
    "default_batch_size",
    "device_name",
    "evaluate",
    "evaluate_each",
]

_HOMES = {
    "PRECISIONS": "devices",
    "Outcome": "outcome",
    "check_lesions": "evaluation",
    "choose_device": "devices",
    "count_correct": "plain_model",
    "default_batch_size": "evaluation",
    "device_name": "devices",
    "evaluate": "evaluation",
    "evaluate_each": "isolation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ensembles.engine' has no attribute '{name}'")
    return getattr(import_module(f"ensembles.engine.{_HOMES[name]}"), name)
