"""How paths are measured, as a frozen value that needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ensembles.errors import UsageError, nearest

__all__ = ["IMAGES", "PathOptions", "path_options"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "method": ("exact", "sampled", "all"),
    "direction": ("gradient", "logits"),
    "statistics": ("running", "batch"),
    "precision": ("fp32", "fp64"),
    "engine": ("fast", "general"),
    "sampling": ("uniform", "weighted"),
}
IMAGES = {"gradient": 8, "logits": 128}
"""How many images are used where nothing is said."""

_OF_GRADIENTS = ("method", "signs", "samples", "sampling", "seed", "at")
_OF_SAMPLES = ("samples", "sampling")


@dataclass(frozen=True)
class PathOptions:
    """How paths are measured.

    Attributes:
        method: "exact" (`gradient_coherent` and `gradient_rms`), "sampled" (`gradient_mean`) or
            "all".
        direction: "gradient" or "logits".
        signs: Draws of random signs for each image on average (images get them in proportion to
            what they carry); 0 leaves `gradient_rms` out.
        samples: Single paths of each length, over all images together (at least one an image).
        images: At most so many images, spread evenly over the data; by default 8 for gradients
            and 128 for logits.
        at: Where the gradient is taken: "input", "first", "blocks", "block 3", "parameters 3".
        sampling: "uniform", as published, or "weighted": paths are drawn in proportion to what
            they are found to carry, and weighted by their probability; the mean is the same, its
            error far smaller.
        per_class: For logits, add rows for the images of each class.
        statistics: "running" BatchNorm statistics, or those of the "batch" of all images.
        precision: "fp32" or "fp64".
        engine: "fast", or "general" (`torch.func` for everything), its check.
        seed: Of the random draws.
        memory: Bytes that rows may take.
    """

    method: str = "exact"
    direction: str = "gradient"
    signs: int = 16
    samples: int = 1000
    images: int | None = None
    at: str = "input"
    sampling: str = "uniform"
    per_class: bool = False
    statistics: str = "running"
    precision: str = "fp32"
    engine: str = "fast"
    seed: int = 0
    memory: float = 2e9

    def check(self) -> None:
        """Refuse values that cannot be meant.

        Raises:
            UsageError: Naming the first such value.
        """
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise UsageError(
                    f"{name} '{value}'; expected {' or '.join(known)}" + nearest(str(value), known)
                )
        if self.images is not None and self.images < 1:
            raise UsageError(f"{self.images} images; expected at least 1")
        if self.signs < 0 or self.signs == 1:
            raise UsageError(f"{self.signs} draws of signs; expected 0 for none, or at least 2")
        if self.samples < 1:
            raise UsageError(f"{self.samples} samples of each length; expected at least 1")
        if self.memory <= 0:
            raise UsageError(f"{self.memory} bytes of memory; expected more than 0")
        if self.per_class and self.direction != "logits":
            raise UsageError("rows for each class are of logits; expected direction logits")
        if self.at != "input" and self.direction != "gradient":
            raise UsageError(
                f"the place '{self.at}' is one of gradients; expected direction gradient, or "
                "no place"
            )

    @property
    def determining(self) -> dict[str, Any]:
        """The options that make a difference to the result, besides precision and engine.

        The number of images is there also where it is left to the default.
        """
        idle = ["memory", "precision", "engine"]
        if self.direction == "logits":
            idle += _OF_GRADIENTS
        else:
            idle += ["per_class"]
            idle += {"exact": list(_OF_SAMPLES), "sampled": ["signs"]}.get(self.method, [])
        values = asdict(self) | {"images": self.images or IMAGES[self.direction]}
        return {name: value for name, value in values.items() if name not in idle}


def path_options(given: Mapping[str, Any], **fixed: Any) -> PathOptions:
    """Options from their names and values, checked.

    Args:
        given: Fields of `PathOptions`.
        fixed: More of them, which win.

    Raises:
        UsageError: If there is no such option, or its value cannot be meant.
    """
    known = set(PathOptions.__dataclass_fields__)
    for name in given:
        if name not in known:
            raise UsageError(f"option '{name}' of paths is unknown" + nearest(name, known))
    chosen = PathOptions(**{**given, **fixed})
    chosen.check()
    return chosen
