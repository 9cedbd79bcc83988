"""A metric that compares with the intact network: the total variation distance."""

from __future__ import annotations

from dataclasses import dataclass

from ensembles.metrics import Column, Metric


@dataclass(frozen=True)
class Drift(Metric):
    """Half the sum over classes of |p - p intact|, averaged over observations."""

    name = "drift"
    summary = "total variation distance from the intact network's probabilities"
    columns = (Column("drift", "number", "less", "Total variation distance"),)
    needs_intact = True

    def size(self, classes):
        return 1

    def measure(self, answers):
        gaps = answers.probabilities - answers.reference.probabilities
        return answers.total(gaps.abs().sum(-1) / 2)

    def row(self, state, total):
        return {"drift": state[0] / total}


DRIFT = Drift()
