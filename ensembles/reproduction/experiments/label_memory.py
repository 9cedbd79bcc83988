"""What a network can hold: true labels, random labels, and the entropy of what it is to learn."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import TYPE_CHECKING, Any

import pandas as pd

from ensembles.data import dataset
from ensembles.lesions import Choice
from ensembles.lesions.members.none import Intact
from ensembles.plots.capacity import plot_capacity
from ensembles.reproduction.capacity_plan import CapacityPlan, capacity_plan_for
from ensembles.reproduction.capacity_tables import capacity_claims, capacity_table
from ensembles.reproduction.entropies import entropies
from ensembles.reproduction.experiment import Comparison, Experiment, Part, Parts, Picture
from ensembles.reproduction.judgements import Claim, Frames
from ensembles.reproduction.lessons import Classroom
from ensembles.reproduction.networks import best_network
from ensembles.studies import Network, Sweep

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = ["LabelMemory"]


class LabelMemory(Experiment):
    """Networks of many sizes are trained on true labels and on random ones.

    Args:
        plan: Which networks; by default as the request asks for.
    """

    key = "capacity"
    title = "Capacity against data: true and random labels"
    about = (
        "Small networks are trained without augmentation or decay, on the true labels of the "
        "training images, and on labels drawn at random, which can only be memorised. Beside it "
        "stand estimates of how much there is to be learned.",
    )
    trains = True
    paper = "capacity"

    def __init__(self, plan: CapacityPlan | None = None) -> None:
        self._plan = plan

    def plan(self, bench: Bench) -> CapacityPlan:
        """Which networks are trained, and how."""
        return self._plan or capacity_plan_for(bench.request)

    def parts(self, bench: Bench) -> Parts:
        """The answers of the best network that is here."""
        parts = Parts()
        with parts.part("best"):
            card = best_network(bench.request.dataset, bench.data.classes)
            network = Network(card.architecture, card.name, card.name)
            alone = bench.sweep(Sweep(Choice(plan=(Intact(),))))
            parts["best"] = Part(network, bench.images, alone)
        return parts

    def frames(self, measured: Frames, bench: Bench) -> Frames:
        """Train, and add ``trainings``, ``capacity`` (by size) and ``entropy``."""
        request, plan = bench.request, self.plan(bench)
        training = dataset(request.dataset, "train", limit=plan.limit or request.scale.images)
        room = Classroom(
            training, bench.data, plan, bench.folder / "trained", device=request.device,
            say=bench.say,
        )  # fmt: skip
        lessons = list(plan.lessons(plan.networks(len(training.classes), room.training.shape[0])))
        rows = []
        for place, lesson in enumerate(lessons, 1):
            with measured.part(lesson.folder):
                rows.append(room.row(lesson, f"{place}/{len(lessons)}"))
        attrs: dict[Any, Any] = {"dataset": training.name, "split": training.split}
        with measured.part("trainings"):
            table = pd.DataFrame(rows)
            names = table["model"].nunique()
            table.attrs = {**attrs, "model": f"{len(rows)} trainings of {names} networks"}
            measured["trainings"] = table
            measured["capacity"] = capacity_table(table)
        best = measured["best"]["loss"].iloc[0] / log(2) if "best" in measured else None
        measured["entropy"] = entropies(room.levels, room.labels, room.top, best)
        measured["entropy"].attrs = {**attrs, "model": "none: the data themselves"}
        return measured

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        return capacity_claims((self._plan or CapacityPlan()).accuracy)

    def shown(self, frames: Frames) -> Mapping[str, pd.DataFrame]:
        """What the best network was measured on."""
        return {name: frame for name, frame in frames.items() if name == "best"}

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        if "capacity" not in frames:
            return []
        table, found = frames["capacity"], frames["entropy"]
        labels = found.loc[found["estimate"] == "class frequencies", "weights"].iloc[0]
        caption = (
            f"Networks of the family {table['family'].iloc[0]} ({table['depth'].iloc[0]} layers), "
            f"{table['seeds'].min()} trainings each, band: 95 % interval over seeds. (a) right "
            "answers; the vertical line is the entropy of all training labels over two bits. (b) "
            "bits of random labels that a parameter holds."
        )
        return [Picture(plot_capacity(table, label_weights=labels), caption)]

    def compare(self, frames: Frames) -> list[Comparison]:
        """See the base class."""
        if "capacity" not in frames:
            return []
        table, found = frames["capacity"], frames["entropy"]
        shares = {"accuracy": "test %", "learned": "training %", "random": "random labels %"}
        sizes = table[["model", "parameters", "seeds"]].assign(
            **{shown: 100 * table[name] for name, shown in shares.items()},
            **{"bits held": table["bits"], "bits a parameter": table["bits_each"]},
            **{"random labels memorised": table["labels_memorised"]},
        )
        return [
            Comparison(sizes, "What networks of each size learn, means over seeds"),
            Comparison(found, "How much there is: estimates, and weights at two bits each"),
        ]
