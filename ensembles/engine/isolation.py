"""A lesion that cannot be run fails alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch.utils.data import Dataset

from ensembles.decomposition import Decomposition
from ensembles.engine.evaluation import evaluate
from ensembles.engine.outcome import Outcome
from ensembles.errors import OutOfMemoryError
from ensembles.lesions import Lesion

__all__ = ["evaluate_each"]


def evaluate_each(
    net: Decomposition,
    data: Dataset[Any] | Iterable[Any],
    lesions: Sequence[Lesion],
    **options: Any,
) -> tuple[list[Outcome], dict[Lesion, str]]:
    """Run lesions as `evaluate` does; where memory does not suffice, in halves down to one lesion.

    Args:
        net: As for `evaluate`.
        data: As for `evaluate`.
        lesions: As for `evaluate`.
        options: As for `evaluate`.

    Returns:
        The outcomes of those that could be run, in their order, and why each of the others could
        not.

    Raises:
        OutOfMemoryError: If memory does not even suffice for the intact network, or runs out on
            data that can be read only once.
    """
    try:
        return evaluate(net, data, lesions, **options), {}
    except OutOfMemoryError as error:
        if isinstance(data, Iterator) or [lesion.kind for lesion in lesions] == ["none"]:
            raise
        reason = str(error)
    if len(lesions) == 1:
        return [], {lesions[0]: reason}
    middle = len(lesions) // 2
    first, failed = evaluate_each(net, data, lesions[:middle], **options)
    second, also_failed = evaluate_each(net, data, lesions[middle:], **options)
    return [*first, *second], {**failed, **also_failed}
