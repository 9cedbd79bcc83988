"""How paths are measured, as a frozen value that needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ensembles.analyses.base import Options, option
from ensembles.errors import UsageError
from ensembles.text import read_place

__all__ = ["IMAGES", "PathOptions"]

IMAGES = {"gradient": 8, "logits": 128}
"""How many images are used where nothing is said."""

_MOST_DRAWS = 100_000
_OF_GRADIENTS = ("method", "signs", "samples", "sampling", "seed", "at")
_OF_SAMPLES = ("samples", "sampling")


@dataclass(frozen=True)
class PathOptions(Options):
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
        precision: "fp32", "fp64", or "auto": fp64 for language models, whose lengths cancel each
            other, else fp32.
        engine: "fast", or "general" (`torch.func` for everything), its check.
        token: Of a language model, which token of each window is predicted from those before it,
            from 2; by default the last.
        every_token: Of a language model, whether the loss is the sum of those of all tokens of a
            window, from the second on.
        counted: Of a language model, whether the length of a path counts "all" branches, those of
            "attention", or those of the "mlp"; what is not counted is taken whole.
        linearization: Whether parts of the network are taken by their "derivatives", or in their
            "additive" form, where attention patterns, gates, slopes of activations and scales of
            norms are constants of each input.
        seed: Seed of the random draws.
        memory: Bytes that rows may take.
    """

    method: str = option(
        "exact: all 2^n paths; sampled: the published protocol; all: both.",
        "exact", choices=("exact", "sampled", "all"),
    )  # fmt: skip
    direction: str = option(
        "What the paths carry.", "gradient", choices=("gradient", "logits")
    )  # fmt: skip
    signs: int = option(
        "Draws of random signs for each image on average, for the RMS norm of a single path; "
        "0 for none.",
        16,
    )
    samples: int = option("Drawn paths of each length, over all images together.", 1000)
    images: int | None = option(
        "Images, spread evenly; by default 8 for gradients, 128 for logits.", None
    )
    at: str = option(
        "Where the gradient arrives: input, first, blocks, 'block 3', 'parameters 3'.", "input"
    )
    sampling: str = option(
        "weighted: prefer blocks that carry more, and correct for it.",
        "uniform", choices=("uniform", "weighted"),
    )  # fmt: skip
    per_class: bool = option("Logits: rows for the images of each class too.", False)
    statistics: str = option(
        "Which statistics BatchNorm uses.", "running", choices=("running", "batch")
    )  # fmt: skip
    precision: str = option(
        "Precision of the computation; auto is fp64 for language models, else fp32.",
        "auto",
        choices=("auto", "fp32", "fp64"),
        determines=False,
    )
    engine: str = option(
        "general differentiates every part by torch.func: slow, for checking.",
        "fast", choices=("fast", "general"), determines=False,
    )  # fmt: skip
    token: int | None = option(
        "Of a language model: the token of each window that is predicted, from 2; by default the "
        "last.",
        None,
    )  # fmt: skip
    every_token: bool = option(
        "Of a language model: the loss of all tokens of a window together, not of one.", False
    )  # fmt: skip
    counted: str = option(
        "Of a language model: whether the length of a path counts all branches, those of "
        "attention, or the others.",
        "all", choices=("all", "attention", "mlp"),
    )  # fmt: skip
    linearization: str = option(
        "additive: attention patterns, gates and scales of norms are held, so that what blocks add "
        "adds up.",
        "derivatives", choices=("derivatives", "additive"),
    )  # fmt: skip
    seed: int = option("Seed of the random draws.", 0)
    memory: float = option("Bytes that rows may take.", 2e9, determines=False)

    def check(self) -> None:
        """Refuse values that cannot be meant.

        Raises:
            UsageError: Naming the first such value.
        """
        super().check()
        if self.images is not None and self.images < 1:
            raise UsageError(f"{self.images} images; expected at least 1")
        if self.signs > _MOST_DRAWS or self.samples > _MOST_DRAWS:
            raise UsageError(
                f"{max(self.signs, self.samples)} draws; expected at most {_MOST_DRAWS}, where the "
                "standard error is far below that of the images"
            )
        if self.signs < 0 or self.signs == 1:
            raise UsageError(f"{self.signs} draws of signs; expected 0 for none, or at least 2")
        if self.samples < 1:
            raise UsageError(f"{self.samples} samples of each length; expected at least 1")
        if self.memory <= 0:
            raise UsageError(f"{self.memory} bytes of memory; expected more than 0")
        if self.per_class and self.direction != "logits":
            raise UsageError("rows for each class are of logits; expected direction logits")
        if self.every_token and (self.token is not None or self.direction != "gradient"):
            raise UsageError(
                "the loss of every token is one of gradients, of no token by itself; expected "
                "direction gradient, and no token"
            )
        read_place(self.at)
        if self.at != "input" and self.direction != "gradient":
            raise UsageError(
                f"the place '{self.at}' is one of gradients; expected direction gradient, or "
                "no place"
            )

    @property
    def random(self) -> bool:
        """Whether signs or paths are drawn."""
        drawn = self.method != "exact" or self.signs > 0
        return self.direction == "gradient" and drawn

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
        if self.token is None:  # results of before there was one are found again
            idle.append("token")
        if not self.every_token:
            idle.append("every_token")
        if self.counted == "all":
            idle.append("counted")
        if self.linearization == "derivatives":
            idle.append("linearization")
        return {name: value for name, value in values.items() if name not in idle}
