"""Recipes: every hyper-parameter of a training, in a small TOML file."""

from __future__ import annotations

import math
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ensembles.bounded import read_text, toml_table
from ensembles.errors import UsageError, nearest
from ensembles.files import home_expanded

__all__ = ["Recipe", "list_recipes", "load_recipe"]


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of gradient descent on images, or on a text.

    Attributes:
        name: Name of the recipe, or the stem of its file.
        description: One line for the reader.
        epochs: Passes over the training images, unless the caller asks for another number.
        batch_size: Images in a step.
        learning_rate: The (highest) learning rate.
        optimizer: ``"sgd"``, or ``"adamw"``, which decays weights alone, no gains and biases.
        momentum: Momentum of SGD, or the first of AdamW's two.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: L2 penalty on every parameter; for AdamW the decoupled decay.
        schedule: ``"steps"`` multiplies the rate by ``decay`` at each milestone; ``"one-cycle"``
            raises it over the share ``warmup`` of all steps and lowers it to zero along cosines.
        milestones: Epochs at which the rate falls, counted for ``epochs`` epochs; with another
            number of epochs they move in proportion.
        decay: Factor on the rate at a milestone.
        warmup: Share of all steps in which the rate of a one-cycle schedule rises.
        flip: Whether images are mirrored left to right at random.
        crop_padding: Images are padded by so many pixels and cut to their size at random.
        padding: ``"mean"`` pads with the mean colour of the normalisation, ``"black"`` with 0.
        label_smoothing: Share of the target that is spread over all classes.
        resolutions: Pairs ``(until, factor)``: in the epochs up to the share ``until`` of all, the
            images are shrunk to ``factor`` times their side; after the last pair they have their
            own size. Small images cost less, and early epochs need no more.

    Raises:
        UsageError: When a value is outside its range.
    """

    name: str
    description: str
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    nesterov: bool
    weight_decay: float
    schedule: Literal["steps", "one-cycle"]
    flip: bool
    crop_padding: int
    padding: Literal["mean", "black"] = "mean"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    label_smoothing: float = 0.0
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    warmup: float = 0.3
    resolutions: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        ranges = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 2, "at least 2"),
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0"),
            "optimizer": (self.optimizer in ("sgd", "adamw"), '"sgd" or "adamw"'),
            "momentum": (0 <= self.momentum < 1, "from 0 to below 1"),
            "nesterov": (not self.nesterov or self.momentum > 0, "false where momentum is 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "at least 0"),
            "schedule": (self.schedule in ("steps", "one-cycle"), '"steps" or "one-cycle"'),
            "milestones": (
                list(self.milestones) == sorted(set(self.milestones))
                and all(0 < epoch < self.epochs for epoch in self.milestones),
                f"rising epochs between 0 and {self.epochs}",
            ),
            "decay": (0 < self.decay <= 1, "above 0, at most 1"),
            "warmup": (0 < self.warmup < 1, "between 0 and 1"),
            "crop_padding": (0 <= self.crop_padding <= 64, "from 0 to 64"),
            "padding": (self.padding in ("mean", "black"), '"mean" or "black"'),
            "label_smoothing": (0 <= self.label_smoothing < 1, "from 0 to below 1"),
            "resolutions": (
                [until for until, _ in self.resolutions]
                == sorted({until for until, _ in self.resolutions})
                and all(0 < until < 1 and 0 < factor < 1 for until, factor in self.resolutions),
                "pairs of a rising share of the epochs and a factor, each between 0 and 1",
            ),
        }
        for key, (holds, expected) in ranges.items():
            if not holds:
                raise UsageError(
                    f"recipe {self.name}: {key} is {getattr(self, key)!r}; expected {expected}"
                )

    def resolution(self, epoch: int, epochs: int) -> float:
        """The factor on the side of the images in an epoch.

        Args:
            epoch: Number of the epoch, from 0.
            epochs: How many there are.

        >>> [load_recipe("progressive").resolution(epoch, 10) for epoch in (0, 2, 3, 5, 6, 9)]
        [0.5, 0.5, 0.75, 0.75, 1.0, 1.0]
        """
        return next(
            (factor for until, factor in self.resolutions if epoch < round(until * epochs)), 1.0
        )

    def hyperparameters(self) -> dict[str, Any]:
        """All values but name and description, as the card of a checkpoint keeps them."""
        values = asdict(self)
        del values["name"], values["description"]
        if self.optimizer == "sgd":  # what cards said before there was another
            del values["optimizer"]
        return values


def list_recipes() -> list[str]:
    """The names of the recipes that come with the library."""
    folder = files("ensembles.training") / "recipes"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def load_recipe(name_or_file: str | Path | Recipe) -> Recipe:
    """Read a recipe.

    Args:
        name_or_file: A name of ``list_recipes()``, or a TOML file; a recipe is given back.

    Returns:
        The recipe.

    Raises:
        UsageError: When there is no such recipe, or a key is missing, unknown or out of range.

    >>> load_recipe("paper").milestones
    (81, 122)
    """
    if isinstance(name_or_file, Recipe):
        return name_or_file
    text = str(name_or_file)
    if text in list_recipes():
        content = (files("ensembles.training") / "recipes" / f"{text}.toml").read_text("utf-8")
        return _parse(text, content)
    path = home_expanded(text)
    if not _there(path):
        raise UsageError(
            f"no recipe {text!r}; expected {', '.join(list_recipes())} or a TOML file"
            f"{nearest(text, list_recipes())}"
        )
    content = read_text(path, "recipe", error=UsageError)
    return _parse(path.stem, content)


def _there(path: Path) -> bool:
    """Whether a name leads to anything; a name that no file can have leads nowhere."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _parse(name: str, content: str) -> Recipe:
    values = toml_table(content, f"recipe {name}", error=UsageError)
    known = {field.name: field for field in fields(Recipe) if field.name != "name"}
    unknown = [key for key in values if key not in known]
    if unknown:
        raise UsageError(
            f"recipe {name}: unknown key {unknown[0]!r}; known are {', '.join(known)}"
            f"{nearest(unknown[0], known)}"
        )
    for key, value in values.items():
        values[key] = _typed(name, key, value, str(known[key].type))
    try:
        return Recipe(name=name, **values)
    except TypeError:
        missing = [
            key for key, field in known.items() if field.default is MISSING and key not in values
        ]
        raise UsageError(f"recipe {name}: {', '.join(missing)} missing") from None


def _typed(name: str, key: str, value: Any, annotation: str) -> Any:
    """Check one value against the annotation of its field."""
    if annotation == "bool":
        fits = isinstance(value, bool)
    elif annotation == "int":
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif annotation == "float":
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        value = float(value) if fits else value
    elif annotation == "tuple[tuple[float, float], ...]":
        fits = isinstance(value, list) and all(map(_is_pair, value))
        value = tuple((float(first), float(second)) for first, second in value) if fits else value
    elif annotation.startswith("tuple"):
        fits = isinstance(value, list) and all(type(entry) is int for entry in value)
        value = tuple(value) if fits else value
    else:
        fits = isinstance(value, str)
    if not fits:
        kind = {"tuple[int, ...]": "a list of whole numbers", "int": "a whole number"}
        kind |= {"float": "a number", "bool": "true or false"}
        kind |= {"tuple[tuple[float, float], ...]": "a list of pairs of numbers"}
        raise UsageError(
            f"recipe {name}: {key} is {value!r}; expected {kind.get(annotation, 'a text')}"
        )
    return value


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(entry, (int, float)) and not isinstance(entry, bool) for entry in value)
    )
