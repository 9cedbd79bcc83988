"""Which networks of equal numbers of parameters are trained, and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ensembles.errors import UsageError
from ensembles.models.matched import Matched, family_of, match
from ensembles.reproduction.request import Request

__all__ = ["DEPTHS", "FamilyPlan", "Member", "plan_for"]

DEPTHS = (8, 14, 20, 32, 56, 110)
_QUICK = {"parameters": 2_000, "depths": (8, 14, 20), "seeds": 2, "epochs": 1, "limit": 64}


@dataclass(frozen=True)
class Member:
    """One network to be trained.

    Attributes:
        network: Its architecture.
        seed: Seed of its training.
    """

    network: Matched
    seed: int

    @property
    def label(self) -> str:
        """What results call it."""
        return f"{self.network.name} seed {self.seed}"

    @property
    def folder(self) -> str:
        """Name of the folder of its training."""
        return f"{self.network.name}-seed{self.seed}"


@dataclass(frozen=True)
class FamilyPlan:
    """Networks of several depths with one number of parameters, and their training.

    Attributes:
        parameters: The number, met within ``tolerance``.
        depths: Weight layers on the longest path; each family takes those that it has.
        families: Keys of `ensembles.models.sized.SIZED`.
        seeds: Number of trainings of each network, with the seeds 0, 1 and so on.
        recipe: The recipe of all of them; by default ``digits`` on the digits, else ``short``.
        epochs: Passes over the training images; by default the recipe's own number.
        limit: At most so many training images.
        tolerance: How far the number of parameters may lie from the one asked for, as a share.
        train: Whether what is not trained yet is trained; else it is left open.

    Raises:
        UsageError: A number is out of range, or no family has one of the depths.
    """

    parameters: int = 250_000
    depths: tuple[int, ...] = DEPTHS
    families: tuple[str, ...] = ("preresnet", "plain")
    seeds: int = 3
    recipe: str | None = None
    epochs: int | None = None
    limit: int | None = None
    tolerance: float = 0.02
    train: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.seeds <= 1000:
            raise UsageError(f"{self.seeds} seeds; expected 1 to 1000")
        for what, values in (("depths", self.depths), ("families", self.families)):
            if not values or len(set(values)) < len(values):
                told = ", ".join(map(str, values)) or "none"
                raise UsageError(f"{what} {told}: expected one or more, each once")
        for depth in self.depths:
            if not any(family_of(key).takes(depth) for key in self.families):
                # Of the first family, for the message that says which depths it has.
                match(self.families[0], depth, self.parameters)

    def recipe_for(self, dataset: str) -> str:
        """The recipe on a data set."""
        return self.recipe or ("digits" if dataset == "digits" else "short")

    def networks(self, classes: int, channels: int) -> list[Matched]:
        """The networks, family by family from shallow to deep.

        Args:
            classes: Number of classes of the data.
            channels: Channels of its images.

        Raises:
            UsageError: No widths meet the number of parameters at some depth.
        """
        return [
            match(
                key, depth, self.parameters, num_classes=classes, in_channels=channels,
                tolerance=self.tolerance,
            )
            for key in self.families
            for depth in sorted(self.depths)
            if family_of(key).takes(depth)
        ]  # fmt: skip

    def members(self, networks: Sequence[Matched]) -> Iterator[Member]:
        """All trainings in their order: seed by seed, from shallow to deep."""
        ordered = sorted(networks, key=lambda one: one.depth)
        for seed in range(self.seeds):
            for network in ordered:
                yield Member(network, seed)


def plan_for(request: Request) -> FamilyPlan:
    """The plan that a request of a reproduction asks for; a quick look trains tiny networks."""
    plan = FamilyPlan()
    return replace(plan, **_QUICK) if request.scale.quick else plan  # type: ignore[arg-type]
