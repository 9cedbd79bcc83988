"""Why deeper and not wider: networks of one number of parameters, trained alike, at many depths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ensembles.analyses.path_options import PathOptions
from ensembles.lesions import Choice
from ensembles.lesions.members.none import Intact
from ensembles.models.matched import family_of
from ensembles.plots.family import plot_family
from ensembles.reproduction.experiment import Comparison, Experiment, Part, Parts, Picture
from ensembles.reproduction.family_claims import family_claims
from ensembles.reproduction.family_plan import FamilyPlan, Member, plan_for
from ensembles.reproduction.family_tables import depths_table, network_row
from ensembles.reproduction.judgements import Claim, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.trained_members import (
    answer_time,
    trained_member,
    training_time,
    weights_of,
)
from ensembles.studies import Data, Measurement, Network, Sweep

if TYPE_CHECKING:
    from ensembles.models.matched import Matched
    from ensembles.reproduction.bench import Bench

__all__ = ["MatchedFamilies"]


class MatchedFamilies(Experiment):
    """Networks of several depths with equal numbers of parameters are trained and taken apart.

    Args:
        plan: Which networks; by default as the request asks for.
    """

    key = "family"
    title = "Deeper or wider: networks of equal size"
    about = (
        "Each network has the widths at which its number of parameters is that of the others; all "
        "are trained by one recipe. Each block is deleted in turn, and the gradient and the logits "
        "are divided over the lengths of paths.",
    )
    trains = True
    paper = "depth_and_width"

    def __init__(self, plan: FamilyPlan | None = None) -> None:
        self._plan = plan

    def plan(self, bench: Bench) -> FamilyPlan:
        """Which networks are trained, and how."""
        return self._plan or plan_for(bench.request)

    def networks(self, bench: Bench) -> list[Matched]:
        """The networks of the plan, for the data of a run."""
        data = bench.data
        return self.plan(bench).networks(len(data.classes), data.shape[0])

    def members(self, bench: Bench) -> list[Member]:
        """All trainings, in their order."""
        return list(self.plan(bench).members(self.networks(bench)))

    def parts(self, bench: Bench) -> Parts:
        """Train the networks; of each, deletions, training images and paths are measured."""
        plan, members = self.plan(bench), self.members(bench)
        parts = Parts()
        for place, member in enumerate(members, 1):
            with parts.part(f"deletions {member.label}"):
                weights = trained_member(bench, plan, member, f"{place}/{len(members)}")
                network = Network(member.network.name, str(weights), member.label)
                parts.update(_parts(bench, plan, member, network))
        return parts

    def frames(self, measured: Frames, bench: Bench) -> Frames:
        """Add ``networks``, a row for each, and ``depths``, the means over seeds."""
        rows: list[dict[str, Any]] = []
        attrs: dict[Any, Any] = {}
        for member in self.members(bench):
            with measured.part(f"network {member.label}"):
                frame = measured[f"deletions {member.label}"]
                weights = weights_of(bench, member)
                times = {**training_time(weights), **answer_time(bench, weights)}
                rows.append(network_row(member, measured, times))
                attrs = {**frame.attrs, **attrs}
        with measured.part("networks"):
            if not rows:
                raise NotMeasured("no network of the family is trained and measured")
            table = pd.DataFrame(rows)
            names = list(dict.fromkeys(table["model"]))
            table.attrs = {**attrs, "model": f"{len(rows)} trainings of {len(names)} networks"}
            measured["networks"] = table
            measured["depths"] = depths_table(table)
        return measured

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        families = (self._plan or FamilyPlan()).families
        residual = next((key for key in families if family_of(key).shortcuts), "preresnet")
        return family_claims(residual)

    def shown(self, frames: Frames) -> Mapping[str, pd.DataFrame]:
        """The table of all networks: those of each would make a book."""
        return {name: frame for name, frame in frames.items() if name == "networks"}

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        if "depths" not in frames:
            return []
        depths, networks = frames["depths"], frames["networks"]
        seeds = sorted({int(number) for number in depths["seeds"]})
        told = " to ".join(str(end) for end in dict.fromkeys((seeds[0], seeds[-1])))
        caption = (
            f"Networks of {depths['parameters'].min():,} to {depths['parameters'].max():,} "
            f"parameters by depth, {told} trainings each: (a) error, (b) what deleting one block "
            "adds to it, (c) the median length of paths by the RMS norm of their gradient, in "
            "weight layers; a network without shortcuts has one path."
        )
        return [Picture(plot_family(networks), caption)]

    def compare(self, frames: Frames) -> list[Comparison]:
        """See the base class."""
        if "depths" not in frames:
            return []
        table = frames["depths"]
        shares = ("error", "train_error", "median_rise", "worst_rise")
        shown = table[["family", "depth", "widths", "parameters", "seeds", "paths"]].assign(
            **{f"{name.replace('_', ' ')} %": 100 * table[name] for name in shares},
            **{
                "from %": 100 * table["error_low"],
                "to %": 100 * table["error_high"],
                "median length (layers)": table["rms_median"],
                "cancellation": table["cancellation"],
                "processor minutes to train": table["train_processor_seconds"] / 60,
                "ms to answer": 1000 * table["answer_seconds"],
            },
        )
        return [
            Comparison(
                shown,
                "Networks of equal size: means over seeds; from, to: Student's 95 % interval of "
                "the mean error over seeds",
            )
        ]


def _parts(bench: Bench, plan: FamilyPlan, member: Member, network: Network) -> dict[str, Part]:
    """What is measured of a trained network."""
    request, scale = bench.request, bench.request.scale
    training = Data(request.dataset, "training images", split="train", limit=plan.limit)
    alone = bench.sweep(Sweep(Choice(plan=(Intact(),))))
    parts = {
        "deletions": Part(network, bench.images, bench.sweep(Sweep())),
        "training images": Part(network, training, alone),
    }
    if member.network.residual:
        gradient = PathOptions(
            method="all", images=scale.path_images, signs=scale.signs,
            samples=scale.samples * scale.path_images,
        )  # fmt: skip
        for name, options in (
            ("gradient", gradient),
            ("logits", PathOptions(direction="logits", images=scale.images)),
        ):
            measurement = Measurement("paths", options, seeds=(request.seed,))
            parts[name] = Part(network, bench.images, measurement)
    return {f"{name} {member.label}": part for name, part in parts.items()}
