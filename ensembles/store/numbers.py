"""What metrics kept, as numbers that can be: what a store says is held against its own context."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ensembles.errors import UsageError
from ensembles.metrics import METRICS
from ensembles.store.blobs import decode_labels, decode_states
from ensembles.store.seals import DamageError

if TYPE_CHECKING:
    from ensembles.metrics import Metric
    from ensembles.store.key import Context
    from ensembles.store.states import State

__all__ = ["Observed"]

CLASSIFICATION = "classification"
"""The task of which every row of data is one observation."""

Floats = NDArray[np.float64]
States = Mapping[int, Mapping[str, "State"]]
Numbers = dict[int, dict[str, Floats]]
"""By the number of the lesion and the name of the metric."""


class Observed:
    """The observations of a context, and what can have been counted of them.

    Args:
        context: The network and the data.

    Raises:
        DamageError: If the labels are not those of the network's classes.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """Class of each observation, (observations,)."""
        key = self._context.key
        most = key.images if key.task == CLASSIFICATION else None
        return decode_labels(self._context.labels, most)

    @cached_property
    def per_class(self) -> NDArray[np.int64]:
        """Observations of each class, (classes,)."""
        classes = self._context.classes
        if self.labels.size and not 0 <= self.labels.min() <= self.labels.max() < classes:
            raise DamageError(
                f"labels of {self._context.model} are {self.labels.min()} to {self.labels.max()}; "
                f"the network has {classes} classes"
            )
        return np.bincount(self.labels, minlength=classes)

    def numbers(self, states: States) -> Numbers:
        """What metrics kept of lesions.

        Raises:
            DamageError: If it cannot be: more right answers than observations, sums of classes that
                are not that of all.
        """
        found: Numbers = {lesion: {} for lesion in states}
        by_metric: dict[str, tuple[list[int], list[State]]] = {}
        for lesion, of_lesion in states.items():
            for metric, state in of_lesion.items():
                of_metric = by_metric.setdefault(metric, ([], []))
                of_metric[0].append(lesion)
                of_metric[1].append(state)
        for metric, (lesions, kept) in by_metric.items():
            numbers = decode_states([state.content for state in kept])
            self._check(metric, lesions, kept, numbers)
            for lesion, row in zip(lesions, numbers, strict=True):
                found[lesion][metric] = row
        if "classes" in by_metric:
            for lesion, rows in found.items():
                self._check_sums(lesion, states[lesion], rows)
        return found

    def _check(
        self, metric: str, lesions: list[int], kept: list[State], numbers: list[Floats]
    ) -> None:
        total = np.fromiter((state.total for state in kept), np.int64, len(kept))
        bad = np.fromiter((state.nonfinite for state in kept), np.int64, len(kept))
        wrong = total != len(self.labels) if self.labels.size else total < 0
        if wrong.any():
            place = int(wrong.argmax())
            raise DamageError(
                f"metric {metric[:40]!r} of lesion {lesions[place]} counts {total[place]} "
                f"observations; the data have {len(self.labels)}"
            )
        known = _known(metric)
        if known is None:
            return
        size = known.size(self._context.classes)
        wrong = np.fromiter(map(len, numbers), np.int64, len(numbers)) != size
        if not wrong.any():
            rows, finite = np.concatenate(numbers).reshape(len(numbers), size), total - bad
            per_class = self.per_class if self.labels.size else np.full(size, total.max())
            with np.errstate(invalid="ignore"):
                wrong = ~known.possible(rows, finite, per_class)
            if not known.counted:  # where there is no sum, version 1 kept none
                wrong &= ~np.isnan(rows).any(axis=1)
        if wrong.any():
            place = int(wrong.argmax())
            shown = " ".join(f"{value:g}" for value in numbers[place][:3])
            raise DamageError(
                f"metric {metric!r} of lesion {lesions[place]} holds {shown or 'nothing'}"
                f"{' ...' if numbers[place].size > 3 else ''}, which cannot be counted of "
                f"{total[place]} observations, {bad[place]} of them not finite"
            )

    def _check_sums(
        self, lesion: int, states: Mapping[str, State], numbers: Mapping[str, Floats]
    ) -> None:
        """The right answers of all classes are all right answers, where both are of one run."""
        if {"top1", "classes"} <= numbers.keys() and states["top1"].run == states["classes"].run:
            right, of_classes = numbers["top1"][0], np.hsplit(numbers["classes"], 2)[0].sum()
            if right != of_classes:
                raise DamageError(
                    f"lesion {lesion} has {right:g} right answers, those of its classes add up to "
                    f"{of_classes:g}"
                )


def _known(name: str) -> Metric | None:
    try:
        return METRICS.get(name)
    except UsageError:
        return None
