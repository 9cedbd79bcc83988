"""What is counted of the answers of a network: right ones, loss, change from the intact network.

A metric is a small frozen value whose numbers add over observations and over machines. The set is
open: a program adds one by ``METRICS.register``, a package by an entry point of the group
``ensembles.metrics``. Reading what was measured needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensembles.metrics.base import Column, Mean, Metric, State
from ensembles.metrics.known_metrics import METRICS, read, require
from ensembles.metrics.outcome import Outcome

if TYPE_CHECKING:
    from ensembles.metrics.answers import Answers

__all__ = ["METRICS", "Answers", "Column", "Mean", "Metric", "Outcome", "State", "read", "require"]


def __getattr__(name: str) -> Any:
    if name != "Answers":
        raise AttributeError(f"module 'ensembles.metrics' has no attribute '{name}'")
    from ensembles.metrics.answers import Answers  # noqa: PLC0415 (imports torch)

    return Answers
