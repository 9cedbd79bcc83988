"""Section 4.3: a network trained on effective paths only, against one trained as usual."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensembles.lesions import Choice
from ensembles.reproduction.criteria import points, spread
from ensembles.reproduction.experiment import Experiment, Part, Parts
from ensembles.reproduction.judgements import Claim, Finding, Frames
from ensembles.reproduction.published import facts
from ensembles.statistics import difference_of_shares
from ensembles.studies import Sweep

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = ["EffectivePathsOnly"]

_TRAININGS = ("paths only", "ordinary")


class EffectivePathsOnly(Experiment):
    """The whole networks of two trainings are tested."""

    key = "effective-paths"
    title = "Training on effective paths only"
    about = (
        "A network whose every training step saw a random 23 of its 54 blocks, so that only short "
        "paths were trained, against one trained as usual; both are tested whole.",
    )

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        parts = Parts()
        for name in _TRAININGS:
            with parts.part(name):
                network = bench.network(bench.request.model, name)
                whole = bench.sweep(Sweep(Choice(plan=())))
                parts[name] = Part(network, bench.images, whole)
        return parts

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        known = facts()["text"]["paths_only"]
        only, ordinary = known["paths_only_error"], known["ordinary_error"]
        return (
            Claim(
                "Training on effective paths only gives no worse network",
                "Newcombe's 95 % interval of the difference of the errors, paths only less "
                "ordinary, does not lie above 0",
                f"{100 * only:.2f} % against {100 * ordinary:.2f} % ({points(only - ordinary)} "
                "points)",
                _TRAININGS,
                _no_worse,
            ),
        )


def _no_worse(frames: Frames) -> Finding:
    whole = [frames[name].iloc[0] for name in _TRAININGS]
    wrong = [int(row["total"] - row["correct"]) for row in whole]
    totals = [int(row["total"]) for row in whole]
    difference, low, high = difference_of_shares(wrong, totals)
    return Finding(
        f"{100 * wrong[0] / totals[0]:.2f} % against {100 * wrong[1] / totals[1]:.2f} % "
        f"({points(difference)} points)",
        f"difference {spread(low, high)}",
        low <= 0,
    )
