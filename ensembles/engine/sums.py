"""What is kept of the answers to every lesion, on the device, until the data end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ensembles.lesions import Lesion
from ensembles.metrics import Metric, Outcome
from ensembles.metrics.answers import Answers

__all__ = ["Sums"]


class Sums:
    """What each metric keeps of each lesion.

    Args:
        lesions: How many lesions there are.
        metrics: What is measured.
        classes: How many classes the answers choose between.
        device: Where to add.
        predictions: Whether the predicted classes are kept too.

    Attributes:
        nonfinite: Observations whose logits are not finite, int64 (lesions,).
        observations: How many were counted.
    """

    def __init__(
        self,
        lesions: int,
        metrics: Sequence[Metric],
        classes: int,
        device: torch.device,
        predictions: bool = False,
    ) -> None:
        wide = torch.float32 if device.type == "mps" else torch.float64
        self._about = (lesions, metrics, classes, device, predictions)
        self.metrics, self.predictions = metrics, predictions
        self.states = [
            torch.zeros(lesions, metric.size(classes), dtype=wide, device=device)
            for metric in metrics
        ]
        self.nonfinite = torch.zeros(lesions, dtype=torch.int64, device=device)
        self.observations = 0
        self._answered: list[Tensor | None] = [None] * lesions if predictions else []
        self._parts: list[Tensor] = []

    def blank(self) -> Sums:
        """One like this, with nothing counted."""
        return Sums(*self._about)

    def count(self, lesion: int, answers: Answers | Iterable[Answers]) -> None:
        """Set what is kept of one lesion to that of some answers.

        Args:
            lesion: Its number in the sweep.
            answers: Its answers to all observations that these sums are of, whole or in parts.
        """
        added = [torch.zeros_like(state[lesion]) for state in self.states]
        nonfinite, observations, answered = torch.zeros_like(self.nonfinite[lesion]), 0, []
        for part in [answers] if isinstance(answers, Answers) else answers:
            for state, metric in zip(added, self.metrics, strict=True):
                state.add_(metric.added(part))
            nonfinite += (~part.finite).sum()
            observations += len(part)
            if self.predictions:
                answered.append(torch.where(part.finite, part.predicted, -1).to(torch.int32))
        for whole, state in zip(self.states, added, strict=True):
            whole[lesion] = state
        self.nonfinite[lesion] = nonfinite
        self.observations = observations
        if self.predictions:
            self._answered[lesion] = torch.cat(answered)

    def add(self, *others: Sums) -> None:
        """Add the sums of further observations: all of them or, should memory run out, none."""
        parts, states, nonfinite = [], self.states, self.nonfinite
        for other in others:
            if self.predictions:
                answered = [one for one in other._answered if one is not None]
                parts.append(torch.stack(answered).cpu())
            states = [state + more for state, more in zip(states, other.states, strict=True)]
            nonfinite = nonfinite + other.nonfinite
        self._parts.extend(parts)  # from here on nothing can fail
        self.states, self.nonfinite = states, nonfinite
        self.observations += sum(other.observations for other in others)

    def outcomes(self, sweep: Sequence[Lesion]) -> list[Outcome]:
        """The sums as outcomes, in the order of the sweep."""
        states = {
            metric.name: state.cpu().double().numpy()
            for metric, state in zip(self.metrics, self.states, strict=True)
        }
        predicted = torch.cat(self._parts, 1).numpy() if self.predictions else None
        return [
            Outcome(
                lesion,
                self.observations,
                bad,
                {name: state[number].copy() for name, state in states.items()},
                None if predicted is None else predicted[number],
            )
            for number, (lesion, bad) in enumerate(zip(sweep, self.nonfinite.tolist(), strict=True))
        ]
