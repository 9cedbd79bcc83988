"""Which networks are to learn true labels, and to memorise random ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ensembles.errors import UsageError
from ensembles.models.matched import Matched, match
from ensembles.reproduction.request import Request

__all__ = ["CapacityPlan", "Lesson", "capacity_plan_for"]

_QUICK = {"sizes": (240, 400), "shares": (8,), "seeds": 1, "epochs": 1}


@dataclass(frozen=True)
class Lesson:
    """One network, and what it is to learn.

    Attributes:
        network: Its architecture.
        seed: Seed of its training, and of random labels.
        share: It gets one training image of so many.
        random: Whether labels are drawn at random.
    """

    network: Matched
    seed: int
    share: int
    random: bool

    @property
    def folder(self) -> str:
        """Name of the folder of its training."""
        labels = "random" if self.random else "true"
        return f"{self.network.name}-{labels}-1of{self.share}-seed{self.seed}"


@dataclass(frozen=True)
class CapacityPlan:
    """Networks of one depth and many sizes.

    Attributes:
        sizes: Numbers of parameters, ascending.
        family: A key of `ensembles.models.sized.SIZED`.
        depth: Weight layers on the longest path.
        seeds: Trainings of each, with the seeds 0, 1 and so on.
        shares: Random labels are given to all images, to one of two, and so on.
        accuracy: The accuracy on test images that a network is to reach.
        recipe: The recipe of all.
        epochs: Passes over all training images; over fewer of them accordingly more.
        tolerance: How far a number of parameters may lie from the one asked for.
        limit: At most so many training images, evenly spread.

    Raises:
        UsageError: A number is out of range.
    """

    sizes: tuple[int, ...] = (300, 600, 1_200, 2_500, 5_000, 10_000)
    family: str = "perceptron"
    depth: int = 2
    seeds: int = 3
    shares: tuple[int, ...] = (1, 2, 4)
    accuracy: float = 0.95
    recipe: str = "memory"
    epochs: int = 100
    tolerance: float = 0.1
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.sizes or list(self.sizes) != sorted(set(self.sizes)):
            told = ", ".join(map(str, self.sizes)) or "none"
            raise UsageError(f"sizes {told}: expected rising numbers of parameters")
        for what, values in (("seeds", [self.seeds]), ("shares", self.shares)):
            if not all(1 <= value <= 1000 for value in values):
                told = ", ".join(map(str, values))
                raise UsageError(f"{what} {told}: expected numbers from 1 to 1000")
        if not 0 < self.accuracy < 1:
            raise UsageError(f"accuracy {self.accuracy}; expected a share between 0 and 1")

    def networks(self, classes: int, channels: int) -> list[Matched]:
        """The networks, from small to large.

        Args:
            classes: Number of classes of the data.
            channels: Channels of its images.

        Raises:
            UsageError: No widths meet one of the sizes.
        """
        return [
            match(
                self.family, self.depth, size, num_classes=classes, in_channels=channels,
                tolerance=self.tolerance,
            )
            for size in self.sizes
        ]  # fmt: skip

    def lessons(self, networks: list[Matched]) -> Iterator[Lesson]:
        """All trainings in their order: seed by seed, from small to large."""
        for seed in range(self.seeds):
            for network in networks:
                yield Lesson(network, seed, 1, False)
                for share in self.shares:
                    yield Lesson(network, seed, share, True)


def capacity_plan_for(request: Request) -> CapacityPlan:
    """The plan that a request of a reproduction asks for; a quick look trains for an epoch."""
    plan = CapacityPlan()
    return replace(plan, **_QUICK) if request.scale.quick else plan  # type: ignore[arg-type]
