"""Analyses measure an intact network whose answers are numbers, or say that they are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensembles.errors import EvaluationError

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.tasks import Task

__all__ = ["require_finite"]


def require_finite(task: Task, output: Tensor, targets: Tensor, start: int) -> None:
    """Refuse rows that the intact network gives no finite logits for.

    Args:
        task: What is asked of the network.
        output: What it gives for some rows.
        targets: Their labels.
        start: The number of the first row in the data.

    Raises:
        EvaluationError: With how many there are.
    """
    bad = ~task.answers(output, targets).finite
    if bool(bad.any()):
        raise EvaluationError(
            f"the intact network gives logits that are not finite for {int(bad.sum())} of the "
            f"{len(bad)} {task.observation}s from row {start} of the data on; check the "
            "normalisation and the weights, or leave such rows out"
        )
