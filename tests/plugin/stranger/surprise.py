"""A metric: the mean probability of every answer but the right one."""

from __future__ import annotations

from dataclasses import dataclass

from ensembles.metrics import Column, Metric


@dataclass(frozen=True)
class Surprise(Metric):
    """1 - p(target)."""

    name = "surprise"
    summary = "mean probability of the wrong answers"
    columns = (Column("surprise", "number", "less", "Probability of wrong answers"),)

    def size(self, classes):
        return 1

    def measure(self, answers):
        right = answers.probabilities.gather(-1, answers.target[:, None])[:, 0]
        return answers.total(1 - right)

    def row(self, state, total):
        return {"surprise": state[0] / total}

    def chance(self, classes):
        return {"surprise": 1 - 1 / classes}


SURPRISE = Surprise()
