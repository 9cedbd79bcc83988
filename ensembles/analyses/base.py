"""What every analysis is: frozen options in, a tidy table out, and a figure of that table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ensembles.errors import UsageError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ensembles.decomposition import Decomposition
    from ensembles.progress import Progress
    from ensembles.store import Store
    from ensembles.tasks.base import Task

__all__ = ["Analysis", "Options", "Run", "option"]


def option(help: str, default: Any, *, choices: Sequence[str] = (), determines: bool = True) -> Any:
    """A field of an analysis' options.

    Args:
        help: One line for the command line and the docs.
        default: Its default.
        choices: The values that there are; empty for any.
        determines: Whether it determines the result, so that a store keeps results by it.
    """
    metadata = {"help": help, "choices": tuple(choices), "determines": determines}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Options of an analysis; a subclass adds fields made by :func:`option`."""

    @classmethod
    def made(cls, given: Mapping[str, Any], what: str) -> Any:
        """Options from names and values.

        Raises:
            UsageError: If a name is unknown, or a value is none of the choices.
        """
        known = [one.name for one in fields(cls)]
        for name in given:
            if name not in known:
                expected = f"expected {', '.join(known)}" if known else "it takes none"
                raise UsageError(f"{what} has no option '{name}'; {expected}{nearest(name, known)}")
        made = cls(**given)
        made.check()
        return made

    def check(self) -> None:
        """Refuse values that have no meaning; a subclass adds to it.

        Raises:
            UsageError: Naming the option, what was found and what was expected.
        """
        for one in fields(self):
            choices = one.metadata.get("choices", ())
            value = getattr(self, one.name)
            if choices and value not in choices:
                raise UsageError(
                    f"{one.name} '{value}'; expected {', '.join(choices)}"
                    + nearest(str(value), choices)
                )

    @property
    def determining(self) -> dict[str, Any]:
        """The options that determine a result, as JSON can hold them."""
        kept = {one.name for one in fields(self) if one.metadata.get("determines", True)}
        return {name: value for name, value in asdict(self).items() if name in kept}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The default of each option."""
        return {one.name: one.default for one in fields(cls) if one.default is not MISSING}


@dataclass(frozen=True)
class Run:
    """Where and how an analysis runs; nothing here changes what it finds beyond rounding.

    Attributes:
        task: What is asked of the network.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "fp32", "tf32", "bf16", or "fp64" where the analysis has it.
        batch_size: Rows at a time; by default as many as suit the device.
        progress: Whether to show a bar, by default only on a terminal; or a function to tell.
        model: Name of the network in tables.
        store: A store that keeps what is measured underneath, lesions for instance.
        about: What else the provenance is to tell, such as the `checkpoint`.
        reference: Reference data for lesions that need some.
        initial: The network before training, for lesions that need it.
        sources: Other trained networks by name, for lesions that need them.
    """

    task: Task
    device: str = "auto"
    precision: str = "fp32"
    batch_size: int | None = None
    progress: bool | Progress | None = None
    model: str | None = None
    store: Store | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    reference: Any = None
    initial: Any = None
    sources: Mapping[str, Any] = field(default_factory=dict)


OptionsT = TypeVar("OptionsT", bound=Options)


class Analysis(ABC, Generic[OptionsT]):
    """One analysis; its class is the member of the open set, and has no state.

    Attributes:
        name: As ``ensembles.analyze`` and ``ensembles analyze`` take it.
        summary: One line for lists.
        source: Paper and section.
        options: The class of its options.
        label: Columns of its table that tell rows of one network apart, first.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str] = ""
    options: type[OptionsT]

    def check(self, net: Decomposition, options: OptionsT) -> None:
        """Refuse a network on which the analysis has no meaning, in a line, before anything runs.

        Raises:
            EnsemblesError: Saying why.
        """

    @abstractmethod
    def measure(self, net: Decomposition, data: Any, options: OptionsT, run: Run) -> pd.DataFrame:
        """Measure; the table's ``attrs`` hold what :mod:`ensembles.tables.schema` says."""

    @abstractmethod
    def draw(self, frames: Sequence[pd.DataFrame]) -> Figure:
        """Draw tables of one network each; no torch is needed for it."""
