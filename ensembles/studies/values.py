"""What a study measures, as frozen values: networks, images, lesions, paths."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ensembles.analyses.path_options import PathOptions
from ensembles.errors import UsageError, nearest
from ensembles.lesions import Choice

__all__ = ["Analysis", "Images", "Network", "Study", "Sweep", "Unit"]

_PRECISIONS = ("fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        name: Of its architecture, or of a checkpoint, as for ``ensembles.load``.
        checkpoint: Name or file of its weights; by default the packaged ones.
        label: What results call it; by default its name.
        block_names: A regular expression; the modules with matching names are the blocks.
        block_kinds: Kinds of blocks to take, separated by commas.
        data: Labels of the data that it is measured on; by default all.
    """

    name: str
    checkpoint: str | None = None
    label: str = ""
    block_names: str | None = None
    block_kinds: str | None = None
    data: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The label, or the name."""
        return self.label or self.name


@dataclass(frozen=True)
class Images:
    """A set of images.

    Attributes:
        name: Of a data set, or a folder; by default what a checkpoint was measured on, else digits.
        label: What results call it; by default its name.
        split: The part of it.
        limit: At most so many images, spread evenly.
        normalize: A normalisation; by default the checkpoint's.
        image_size: Side of the square that a folder's images are brought to.

    Raises:
        UsageError: If the limit or the size is below 1.
    """

    name: str | None = None
    label: str = ""
    split: str = "test"
    limit: int | None = None
    normalize: str | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        for what, number in (("limit", self.limit), ("image_size", self.image_size)):
            if number is not None and number < 1:
                raise UsageError(f"{what} {number}: expected 1 or more")

    @property
    def title(self) -> str:
        """The label, or the name."""
        return self.label or self.name or "its data"


@dataclass(frozen=True)
class Sweep:
    """Lesions of every network on all its data.

    Attributes:
        choice: Which lesions; its seed is that of the study in turn.
        seeds: Of the random draws, in place of the study's.
        precision: In place of the study's.
        models: Labels of the networks; by default all.
        data: Labels of the data; by default all.
    """

    choice: Choice = field(default_factory=Choice)
    seeds: tuple[int, ...] = ()
    precision: str | None = None
    models: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    @property
    def random(self) -> bool:
        """Whether anything is drawn at random."""
        return self.choice.random

    @property
    def title(self) -> str:
        """The lesions in a few words."""
        chosen = self.choice
        if chosen.plan is not None:
            return f"plan {Path(chosen.plan).name}"
        times = f" x {chosen.trials}" if chosen.trials else ""
        only = f" of {chosen.blocks}" if chosen.blocks else ""
        kept = " without transitions" if chosen.skip_transitions else ""
        return f"{chosen.kind} {chosen.count}{times}{only}{kept}"


@dataclass(frozen=True)
class Analysis:
    """A path analysis of every network on all its data.

    Attributes:
        options: What is measured; its seed is that of the study in turn.
        seeds: Of the random draws, in place of the study's.
        models: Labels of the networks; by default all.
        data: Labels of the data; by default all.
    """

    options: PathOptions = field(default_factory=PathOptions)
    seeds: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.options.check()

    @property
    def random(self) -> bool:
        """Whether anything is drawn at random."""
        chosen = self.options
        return chosen.direction == "gradient" and (chosen.method != "exact" or chosen.signs > 0)

    @property
    def title(self) -> str:
        """The analysis in a few words."""
        chosen = self.options
        if chosen.direction == "logits":
            return "paths of logits"
        at = "" if chosen.at == "input" else f" at {chosen.at}"
        return f"paths of {chosen.direction} {chosen.method}{at}"


@dataclass(frozen=True)
class Unit:
    """One sweep or one analysis, of one network on one set of images with one seed.

    Attributes:
        model: The network.
        data: The images.
        task: What is measured.
        seed: Of the random draws; None where nothing is drawn.
        precision: Of the computation.
        predictions: Whether the predicted class of each image is kept (of lesions only).
    """

    model: Network
    data: Images
    task: Sweep | Analysis
    seed: int | None
    precision: str
    predictions: bool = False

    @property
    def title(self) -> str:
        """What is done to what, in a line."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.model.title} on {self.data.title}: {self.task.title}{seed}"

    @property
    def choice(self) -> Choice:
        """The lesions, with the seed of this unit."""
        assert isinstance(self.task, Sweep)
        return replace(self.task.choice, seed=self.seed or 0)

    @property
    def options(self) -> PathOptions:
        """What is measured of paths, with the seed of this unit."""
        assert isinstance(self.task, Analysis)
        return replace(self.task.options, seed=self.seed or 0)

    @cached_property
    def digest(self) -> str:
        """sha256 of what the study says of this unit, but for labels."""
        model, data = asdict(self.model), asdict(self.data)
        for name in ("label", "data"):
            del model[name]
        del data["label"]
        if isinstance(self.task, Sweep):
            task = asdict(self.choice)
        else:
            task = {**self.options.determining, "engine": self.options.engine}
        about = [model, data, task, self.precision, self.predictions]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Study:
    """Networks, data, and all that is measured of them.

    Attributes:
        name: Of the study.
        models: The networks.
        data: The images that each network is measured on.
        lesions: Sweeps of lesions.
        paths: Path analyses.
        seeds: Whatever is drawn at random is drawn once for each.
        precision: Of the sweeps: "fp32", "tf32" or "bf16".
        predictions: Whether the predicted class of each image is kept, for paired tests.
        description: A line for the reader.
        folder: Where the files that it names are looked for first; by default the current folder.

    Raises:
        UsageError: If nothing is measured, two labels are the same, or a name is unknown.
    """

    name: str
    models: tuple[Network, ...]
    data: tuple[Images, ...] = (Images(),)
    lesions: tuple[Sweep, ...] = ()
    paths: tuple[Analysis, ...] = ()
    seeds: tuple[int, ...] = (0,)
    precision: str = "fp32"
    predictions: bool = False
    description: str = ""
    folder: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for what, values in (("model", self.models), ("data", self.data), ("seed", self.seeds)):
            if not values:
                raise UsageError(f"the study has no {what}; expected at least one")
        if not self.lesions and not self.paths:
            raise UsageError("the study measures nothing; expected lesions or paths")
        models = _labels("models", [one.title for one in self.models])
        data = _labels("data", [one.title for one in self.data])
        for precision in (self.precision, *(one.precision for one in self.lesions)):
            if precision not in (None, *_PRECISIONS):
                known = " or ".join(_PRECISIONS)
                raise UsageError(
                    f"precision '{precision}'; expected {known}{nearest(precision, _PRECISIONS)}"
                )
        for task in self.tasks:
            _known("models", task.models, models)
            _known("data", task.data, data)
        for model in self.models:
            _known("data", model.data, data)
        _labels("seeds", list(map(str, self.seeds)))
        self.units()

    @property
    def tasks(self) -> tuple[Sweep | Analysis, ...]:
        """All sweeps, then all path analyses."""
        return (*self.lesions, *self.paths)

    def units(self) -> tuple[Unit, ...]:
        """What is measured, one network on one set of images after the other.

        Raises:
            UsageError: If two units are the same.
        """
        units = []
        for model in self.models:
            for data in self.data:
                for task in self.tasks:
                    if _meant(model, data, task):
                        units += self._seeded(model, data, task)
        for digest, number in Counter(unit.digest for unit in units).items():
            if number > 1:
                twice = next(unit for unit in units if unit.digest == digest)
                raise UsageError(f"{twice.title}: is there twice; expected each measurement once")
        return tuple(units)

    def _seeded(self, model: Network, data: Images, task: Sweep | Analysis) -> list[Unit]:
        seeds: Sequence[int | None] = (task.seeds or self.seeds) if task.random else (None,)
        if isinstance(task, Sweep):
            precision = task.precision or self.precision
            return [Unit(model, data, task, seed, precision, self.predictions) for seed in seeds]
        return [Unit(model, data, task, seed, task.options.precision) for seed in seeds]

    def place(self, name: str | None) -> str | None:
        """Where a file of the study lies: beside it if it is there, else as it is written."""
        if name is None or self.folder is None or not (self.folder / name).exists():
            return name
        return str(self.folder / name)

    def described(self) -> dict[str, Any]:
        """The study as JSON can hold it, without what the defaults say."""
        return {
            "name": self.name,
            "description": self.description,
            "models": [_short(one, Network(one.name)) | {"name": one.name} for one in self.models],
            "data": [_short(one, Images()) for one in self.data],
            "lesions": [_flat(one, one.choice, Sweep(), Choice()) for one in self.lesions],
            "paths": [_flat(one, one.options, Analysis(), PathOptions()) for one in self.paths],
            "seeds": list(self.seeds),
            "precision": self.precision,
            "predictions": self.predictions,
        }


def _meant(model: Network, data: Images, task: Sweep | Analysis) -> bool:
    return (
        (not task.models or model.title in task.models)
        and (not task.data or data.title in task.data)
        and (not model.data or data.title in model.data)
    )


def _labels(what: str, labels: list[str]) -> list[str]:
    for label, number in Counter(labels).items():
        if number > 1:
            hint = "" if what == "seeds" else "; give each a label of its own"
            raise UsageError(f"{what}: {label} is there twice{hint}")
    return labels


def _known(what: str, wanted: Iterable[str], known: Sequence[str]) -> None:
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"{what} '{name}' is unknown; expected {', '.join(known)}{nearest(name, known)}"
            )


def _short(value: Any, default: Any) -> dict[str, Any]:
    usual = asdict(default)
    return {key: item for key, item in asdict(value).items() if item != usual[key]}


def _flat(task: Any, inner: Any, usual: Any, usual_inner: Any) -> dict[str, Any]:
    outer = _short(task, usual)
    return {key: outer[key] for key in outer if key not in ("choice", "options")} | _short(
        inner, usual_inner
    )
