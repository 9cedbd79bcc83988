"""What an experiment is: parts of a study that are measured, and claims that are judged by them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from ensembles.reproduction.judgements import Claim, Frames
from ensembles.reproduction.named import Named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ensembles.reproduction.bench import Bench
    from ensembles.studies import Data, Measurement, Network, Sweep

__all__ = ["Comparison", "Experiment", "Part", "Parts", "Picture"]


@dataclass(frozen=True)
class Part:
    """One table to be measured: an analysis of one network on one data set.

    Attributes:
        network: The network, as a study names it.
        data: The data.
        analysis: What is measured.
    """

    network: Network
    data: Data
    analysis: Sweep | Measurement


Parts: TypeAlias = Named[Part]
"""What an experiment measures, by the name of the table that comes of it."""


@dataclass(frozen=True)
class Picture:
    """A figure, and a caption that says whose numbers are in it."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class Comparison:
    """Our numbers beside the published ones; columns that end in "%" hold per cent."""

    frame: pd.DataFrame
    caption: str


class Experiment(ABC):
    """One experiment of the paper; a value without state.

    Attributes:
        key: Number of the figure, or a word, as ``--figure`` takes it.
        title: Heading.
        about: What is done, and what is held against what.
        trains: Whether it trains networks, and so is run only when it is asked for.
        paper: Whose experiment it is, a name in the table ``sources`` of ``published.toml``.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[tuple[str, ...]]
    trains: ClassVar[bool] = False
    paper: ClassVar[str] = "veit2016"

    @abstractmethod
    def claims(self) -> tuple[Claim, ...]:
        """What it decides."""

    @abstractmethod
    def parts(self, bench: Bench) -> Parts:
        """What has to be measured; what cannot be is noted with the reason."""

    def frames(self, measured: Frames, bench: Bench) -> Frames:
        """The tables that claims are judged by, made of those that were measured."""
        return measured

    def shown(self, frames: Frames) -> Mapping[str, pd.DataFrame]:
        """The tables whose lesions and provenance a report tells; by default all."""
        return frames

    def draw(self, frames: Frames) -> Sequence[Picture]:
        """Draw the tables that are there."""
        return ()

    def compare(self, frames: Frames) -> Sequence[Comparison]:
        """Lay our numbers beside the published ones."""
        return ()
