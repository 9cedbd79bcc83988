"""A study as a frozen value, and the units that it consists of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ensembles.errors import UsageError, nearest
from ensembles.studies.digests import digests
from ensembles.studies.values import Data, Measured, Measurement, Network, Sweep
from ensembles.studies.written import written_study
from ensembles.text_names import is_text

__all__ = ["RunTable", "Study", "Unit"]

_PRECISIONS = ("fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Unit:
    """One analysis of one network on one data set with one seed.

    It can be pickled, and written as JSON and read again (`ensembles.studies.written`), so that it
    may be measured by any process.

    Attributes:
        model: The network.
        data: The data.
        analysis: What is measured.
        seed: Seed of the random draws; None where nothing is drawn.
        precision: Precision of the computation.
        predictions: Whether the predicted class of each observation is kept (of lesions only).
    """

    model: Network
    data: Data
    analysis: Sweep | Measurement
    seed: int | None
    precision: str
    predictions: bool = False

    @property
    def title(self) -> str:
        """What is done to what, in a line."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.model.title} on {self.data.title}: {self.analysis.title}{seed}"

    @property
    def seeded(self) -> Sweep | Measurement:
        """The analysis with the seed of this unit."""
        return self.analysis.seeded(self.seed or 0)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """The digest, and then those under which earlier programs kept the same unit."""
        return digests(self)

    @property
    def digest(self) -> str:
        """sha256 of what the study says of this unit, but for labels."""
        return self.digests[0]


@dataclass(frozen=True)
class RunTable:
    """Where a study is run, unless a call says otherwise.

    Attributes:
        on: Name of the executor.
        options: Options of the executor, by name.
    """

    on: str = "here"
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Study:
    """Networks, data, and all that is measured of them.

    Attributes:
        name: Name of the study.
        models: The networks.
        data: The data that each network is measured on.
        lesions: Sweeps of lesions.
        analyses: Other analyses, of paths for instance.
        seeds: Whatever is drawn at random is drawn once for each.
        precision: "fp32", "tf32" or "bf16", unless an analysis has its own.
        predictions: Whether the store is to keep the predicted class of each observation.
        description: In words.
        folder: Where files that it names are looked for first.
        run: Where it is run; determines no result.

    Raises:
        UsageError: If something is missing, unknown, or there twice.
    """

    name: str
    models: tuple[Network, ...]
    data: tuple[Data, ...] = (Data(),)
    lesions: tuple[Sweep, ...] = ()
    analyses: tuple[Measurement, ...] = ()
    seeds: tuple[int, ...] = (0,)
    precision: str = "fp32"
    predictions: bool = False
    description: str = ""
    folder: Path | None = field(default=None, compare=False)
    run: RunTable = field(default_factory=RunTable, compare=False)

    def __post_init__(self) -> None:
        for what, values in (("model", self.models), ("data", self.data), ("seed", self.seeds)):
            if not values:
                raise UsageError(f"the study has no {what}; expected at least one")
        if not self.asked:
            raise UsageError("the study measures nothing; expected lesions, paths or analyses")
        models = _labels("models", [one.title for one in self.models])
        data = _labels("data", [one.title for one in self.data])
        for precision in (self.precision, *(one.precision for one in self.asked)):
            if precision not in (None, *_PRECISIONS):
                known = " or ".join(_PRECISIONS)
                raise UsageError(
                    f"precision '{precision}'; expected {known}{nearest(precision, _PRECISIONS)}"
                )
        for analysis in self.asked:
            _known("models", analysis.models, models)
            _known("data", analysis.data, data)
        for model in self.models:
            _known("data", model.data, data)
        _labels("seeds", list(map(str, self.seeds)))
        self.units()

    @property
    def asked(self) -> tuple[Sweep | Measurement, ...]:
        """All sweeps, then all other analyses."""
        return (*self.lesions, *self.analyses)

    def units(self) -> tuple[Unit, ...]:
        """What is measured, one network on one data set after the other.

        Raises:
            UsageError: If two units are the same.
        """
        return self._units

    @cached_property
    def _units(self) -> tuple[Unit, ...]:
        units = [
            unit
            for model in self.models
            for data in self.data
            for analysis in self.asked
            if _meant(model, data, analysis)
            for unit in self._seeded(model, data, analysis)
        ]
        for digest, number in Counter(unit.digest for unit in units).items():
            if number > 1:
                twice = next(unit for unit in units if unit.digest == digest)
                raise UsageError(f"{twice.title}: is there twice; expected each measurement once")
        return tuple(units)

    def _seeded(self, model: Network, data: Data, analysis: Sweep | Measurement) -> list[Unit]:
        seeds: Sequence[int | None] = (None,)
        if analysis.random:
            seeds = analysis.seeds or self.seeds
        precision = analysis.own_precision or self.precision
        if precision == "auto":  # by the network, which is not open yet; that of version 1 else
            precision = "fp64" if data.name is not None and is_text(data.name) else "fp32"
        kept = self.predictions and isinstance(analysis, Sweep)
        return [Unit(model, data, analysis, seed, precision, kept) for seed in seeds]

    def place(self, name: str | None) -> str | None:
        """Where a file of the study lies: beside it if it is there, else as it is written."""
        if name is None or self.folder is None or not (self.folder / name).exists():
            return name
        return str(self.folder / name)

    def described(self) -> dict[str, Any]:
        """The study as JSON can hold it, without what the defaults say; as a file says it."""
        return written_study(self)


def _meant(model: Network, data: Data, analysis: Measured) -> bool:
    return (
        (not analysis.models or model.title in analysis.models)
        and (not analysis.data or data.title in analysis.data)
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
