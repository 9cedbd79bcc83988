"""What a study measures, as frozen values: networks, data, and analyses of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ensembles.analyses.base import Options
from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import UsageError
from ensembles.lesions import Choice
from ensembles.metrics import read as read_metrics
from ensembles.studies.texts import counts_text, places_text

__all__ = ["Data", "Measured", "Measurement", "Network", "Sweep"]


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        name: Name of its architecture, or of a checkpoint, as for ``ensembles.load``.
        checkpoint: Name or file of its weights; by default the packaged ones.
        label: What results call it; by default its name.
        block_names: A regular expression; the modules with matching names are the blocks.
        block_kinds: Kinds of blocks to take, separated by commas.
        nested: Whether to look for blocks inside others too; by default where there are few.
        data: Labels of the data that it is measured on; by default all.
        initial: File of its weights before it was trained, for lesions that need them; by default
            the one that lies beside the checkpoint, if there is one.
        weights: Which weights of a file that holds several, "raw", "ema" or a name in it.
        match: How a file's weights find their places: by "names", or by "order".
    """

    name: str
    checkpoint: str | None = None
    label: str = ""
    block_names: str | None = None
    block_kinds: str | None = None
    data: tuple[str, ...] = ()
    initial: str | None = None
    nested: bool | None = None
    weights: str | None = None
    match: str = "names"

    @property
    def title(self) -> str:
        """The label, or the name."""
        return self.label or self.name


@dataclass(frozen=True)
class Data:
    """A part of a data set.

    Attributes:
        name: Name of a data set, or a folder; by default what a checkpoint was measured on, else
            digits.
        label: What results call it; by default its name.
        split: The part of it.
        limit: At most so many rows, spread evenly.
        normalize: A normalisation; by default the checkpoint's.
        image_size: Side of the square that images are brought to; by default images are made as
            the checkpoint's record says.
        rows: Numbers of the only rows to take, from 0, after the limit; by default all.
        reference: Name or folder of data whose training split lesions take means and statistics
            from, where they need some; by default that of the same data set.
        resize: The side that images are resized to, as 256, "256x224" or "none"; this and what
            follows by default as the checkpoint's record says.
        crop: The side of what is cut out, likewise.
        interpolation: nearest, bilinear, bicubic, box, hamming or lanczos.
        crop_mode: center, squash or border.
        colours: rgb, bgr or grey.
        test_size: Whether to take the size that the record names for testing.
        classes: Which number each class folder or name has: a file of names, in a line each or
            with numbers; ``text`` for places among the names sorted as text; ``numbers`` for names
            that are the numbers.
        labels: Where the labels stand, where it is not the usual place: a file, or the column of a
            table.
        window: Tokens of a window of a text; this and what follows as for ``open_subject``.
        stride: Tokens from a window to the next.
        front: A token to put in front of each window, as text or id.
        column: The column of a table that holds the text.
        masked: The share of tokens that are masked, for a masked language model.
        mask_seed: Seed of their draws.

    Raises:
        UsageError: If the limit or the size is below 1, or a row below 0.
    """

    name: str | None = None
    label: str = ""
    split: str = "test"
    limit: int | None = None
    normalize: str | None = None
    image_size: int | None = None
    rows: tuple[int, ...] = ()
    reference: str | None = None
    resize: str | None = None
    crop: str | None = None
    interpolation: str | None = None
    crop_mode: str | None = None
    colours: str | None = None
    test_size: bool = False
    classes: str | None = None
    labels: str | None = None
    window: int | None = None
    stride: int | None = None
    front: str | None = None
    column: str | None = None
    masked: float | None = None
    mask_seed: int | None = None

    def __post_init__(self) -> None:
        for row in self.rows:
            if row < 0:
                raise UsageError(f"row {row}: expected 0 or more")
        for what in ("limit", "image_size", "window", "stride"):
            number = getattr(self, what)
            if number is not None and number < 1:
                raise UsageError(f"{what} {number}: expected 1 or more")

    @property
    def title(self) -> str:
        """The label, or the name."""
        return self.label or self.name or "its data"


class Measured(ABC):
    """An analysis of every network on all its data: what one table of a study's file says.

    Attributes:
        name: Name of the analysis.
        seeds: Seeds of the random draws, in place of the study's.
        precision: Precision in place of the study's.
        models: Labels of the networks; by default all.
        data: Labels of the data; by default all.
    """

    name: str
    seeds: tuple[int, ...]
    precision: str | None
    models: tuple[str, ...]
    data: tuple[str, ...]

    @property
    @abstractmethod
    def title(self) -> str:
        """The analysis in a few words."""

    @property
    @abstractmethod
    def random(self) -> bool:
        """Whether anything is drawn at random."""

    @property
    def own_precision(self) -> str | None:
        """Its precision; None for that of the study."""
        return self.precision

    @abstractmethod
    def seeded(self, seed: int) -> Any:
        """The same with one seed."""


@dataclass(frozen=True)
class Sweep(Measured):
    """Lesions of every network on all its data.

    Attributes:
        choice: Which lesions; its seed is that of the study in turn.
        metrics: Names of the metrics.
        task: What is asked of the networks; by default what their shapes say.
        plan: A CSV file with the columns ``lesion`` and ``blocks``, read where a unit runs, in
            place of all that the choice says but ``recalibrated``.
        seeds: Seeds of the random draws, in place of the study's.
        precision: Precision in place of the study's.
        models: Labels of the networks; by default all.
        data: Labels of the data; by default all.
        written: How a file writes the count and the blocks; it determines nothing.
    """

    choice: Choice = field(default_factory=Choice)
    metrics: tuple[str, ...] = ("top1", "loss")
    task: str | None = None
    plan: str | None = None
    seeds: tuple[int, ...] = ()
    precision: str | None = None
    models: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    written: tuple[str, str | None] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        read_metrics(self.metrics)
        if "seed" in self.choice.settings:
            raise UsageError(
                "a seed among the settings of lesions; expected it as one of the seeds"
            )
        if self.plan is not None:
            alone = Choice(seed=self.choice.seed, recalibrated=self.choice.recalibrated)
            if self.choice != alone:
                raise UsageError(
                    f"plan {self.plan}: a plan names all lesions, found others beside it; leave "
                    "out one or the other"
                )

    name = "lesion"

    @property
    def random(self) -> bool:
        """Whether anything is drawn at random."""
        return self.plan is None and self.choice.random

    @property
    def title(self) -> str:
        """The lesions in a few words."""
        return f"{self._chosen}{self._measured}"

    @property
    def _chosen(self) -> str:
        chosen = self.choice
        if self.plan is not None:
            return f"plan {Path(self.plan).name}"
        if chosen.plan is not None:
            return f"plan of {len(chosen.plan)}"
        settings = "".join(f" {name} {value}" for name, value in chosen.settings.items())
        times = f" x {chosen.trials}" if chosen.trials else ""
        places = places_text(chosen)
        only = f" of {places}" if places else ""
        kept = " without transitions" if chosen.skip_transitions else ""
        return f"{chosen.kind}{settings} {counts_text(chosen.counts)}{times}{only}{kept}"

    @property
    def _measured(self) -> str:
        again = self.choice.recalibrated
        usual = Sweep.__dataclass_fields__["metrics"].default
        told = [
            *([f"recalibrated {again}"] if again is not None else []),
            *([", ".join(self.metrics)] if self.metrics != usual else []),
        ]
        return f" ({'; '.join(told)})" if told else ""

    def seeded(self, seed: int) -> Sweep:
        """The same with one seed."""
        return replace(self, choice=replace(self.choice, seed=seed))


@dataclass(frozen=True)
class Measurement(Measured):
    """Any other analysis of every network on all its data.

    Attributes:
        name: Name of the analysis, such as "paths" or "influence".
        options: Its options; by default as they are. A seed among them is that of the study in
            turn.
        task: What is asked of the networks; by default what their shapes say.
        seeds: Seeds of the random draws, in place of the study's.
        precision: Precision in place of the study's.
        models: Labels of the networks; by default all.
        data: Labels of the data; by default all.

    Raises:
        UsageError: If there is no such analysis, its options are another's, or it is one of
            lesions, which a `Sweep` says.
    """

    name: str = "paths"
    options: Options | None = None
    task: str | None = None
    seeds: tuple[int, ...] = ()
    precision: str | None = None
    models: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        analysis = ANALYSES.get(self.name)
        if analysis.by_lesion:
            raise UsageError(f"analysis '{self.name}' measures lesions; expected them as a sweep")
        if self.options is None:
            object.__setattr__(self, "options", analysis.options())
        if not isinstance(self.options, analysis.options):
            raise UsageError(
                f"options of '{self.name}' are {type(self.options).__name__}; expected "
                f"{analysis.options.__name__}"
            )
        self.chosen.check()
        if self.precision is not None and self._chooses("precision"):
            raise UsageError(f"precision of '{self.name}': expected it among the options")

    @property
    def chosen(self) -> Options:
        """The options."""
        assert self.options is not None
        return self.options

    @property
    def random(self) -> bool:
        """Whether anything is drawn at random."""
        return self.chosen.random

    @property
    def title(self) -> str:
        """The analysis in a few words."""
        return ANALYSES.get(self.name).title(self.chosen)

    @property
    def own_precision(self) -> str | None:
        """Its precision, among its options where it chooses one; None for that of the study."""
        return getattr(self.chosen, "precision", self.precision)

    def seeded(self, seed: int) -> Measurement:
        """The same with one seed."""
        if not self._chooses("seed"):
            return self
        return replace(self, options=replace(self.chosen, seed=seed))  # type: ignore[call-arg]

    def _chooses(self, option: str) -> bool:
        return any(one.name == option for one in fields(self.chosen))
