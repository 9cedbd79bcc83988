"""Lesions are run over data: shared prefixes, devices, precision, memory.

Everything is imported when it is first used: what came of a lesion can be read without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensembles.evaluation.counting import count_correct
    from ensembles.evaluation.devices import PRECISIONS, choose_device, device_name
    from ensembles.evaluation.isolating import evaluate_each
    from ensembles.evaluation.outcome import Outcome
    from ensembles.evaluation.running import check_lesions, default_batch_size, evaluate

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
    "check_lesions": "running",
    "choose_device": "devices",
    "count_correct": "counting",
    "default_batch_size": "running",
    "device_name": "devices",
    "evaluate": "running",
    "evaluate_each": "isolating",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ensembles.evaluation' has no attribute '{name}'")
    return getattr(import_module(f"ensembles.evaluation.{_HOMES[name]}"), name)
