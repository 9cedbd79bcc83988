"""What every analysis is: frozen options in, a tidy table out, and a figure of that table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ensembles.errors import UsageError, nearest
from ensembles.lesions.base import Setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ensembles.decomposition import Decomposition
    from ensembles.lesions.needs import Need
    from ensembles.progress import Progress
    from ensembles.store import Store
    from ensembles.store.parts import Parts
    from ensembles.tasks.base import Task

__all__ = ["Analysis", "HeatMap", "Options", "Run", "option"]


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
    """Options of an analysis; a subclass adds fields made by :func:`option`.

    A field is an ``int``, a ``float``, a ``str`` or a ``bool``, or one of these or None.
    """

    @classmethod
    def made(cls, given: Mapping[str, Any], what: str) -> Any:
        """Options from names and values, checked.

        Args:
            given: Values by the name of their field.
            what: Whose options they are, for the message.

        Raises:
            UsageError: If a name is unknown, or a value has no meaning.
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
        for one in self.settings():
            value = getattr(self, one.name)
            if not _suits(value, one.type) and not (value is None and one.default is None):
                expected = {"int": "a whole number", "float": "a number", "bool": "yes or no"}
                raise UsageError(
                    f"{one.name} {value!r}; expected {expected.get(one.type, 'a text')}"
                )
            if isinstance(value, int) and abs(value) > _LARGEST:
                raise UsageError(f"{one.name}: expected a number of at most {_LARGEST}")
            if one.choices and value not in one.choices:
                raise UsageError(
                    f"{one.name} '{value}'; expected {' or '.join(one.choices)}"
                    + nearest(str(value), one.choices)
                )

    @property
    def determining(self) -> dict[str, Any]:
        """The options that determine a result, as JSON can hold them."""
        kept = {one.name for one in fields(self) if one.metadata.get("determines", True)}
        return {name: value for name, value in asdict(self).items() if name in kept}

    @property
    def random(self) -> bool:
        """Whether a result depends on a seed, so that a study makes one for each of its seeds."""
        return "seed" in self.determining

    @classmethod
    def settings(cls) -> tuple[Setting, ...]:
        """The fields that carry a line of help, as the command line and studies offer them."""
        return tuple(
            Setting(
                one.name,
                str(one.type).partition(" |")[0],
                one.default,
                str(one.metadata["help"]),
                tuple(one.metadata["choices"]),
            )
            for one in fields(cls)
            if "help" in one.metadata
        )

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The default of each option."""
        return {one.name: one.default for one in fields(cls) if one.default is not MISSING}


_LARGEST = 2**53
_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,), "int": (int,), "float": (int, float), "str": (str,),
}  # fmt: skip


def _suits(value: object, name: str) -> bool:
    """Whether a value is of a field's type; a whole number is a number, a truth value is none."""
    if isinstance(value, bool):
        return name not in _TYPES or bool in _TYPES[name]
    return isinstance(value, _TYPES.get(name, (object,)))


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
        parts: What a store keeps of a table that is not done, so that an interrupted run goes on.
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
    sources: Any = None
    parts: Parts | None = None

    @property
    def of_lesions(self) -> dict[str, Any]:
        """The same as `ensembles.lesion` takes it, which keeps what it measures by itself."""
        return {name: value for name, value in vars(self).items() if name != "parts"}

    def kept(self, label: str, measure: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """A part that an interrupted run has measured already, or measures now, as arrays.

        Args:
            label: What it is kept under.
            measure: Measures it.
        """
        known = None if self.parts is None else self.parts.read(label)
        if known is not None:
            return known
        found = measure()
        if self.parts is not None:
            self.parts.keep(label, found)
        return found


@dataclass(frozen=True)
class HeatMap:
    """What of a table of pairs of blocks is drawn as a heat map.

    Attributes:
        x: Column with the number of a block that goes to the right.
        y: Column with the number of a block that goes up.
        value: Column with what is drawn.
        labels: Of the x axis, of the y axis and of the colours.
        diagonal: Whether a block with itself is drawn.
        low: Where the scale of colours begins; by default at the smallest value.
        logarithmic: Whether it is a scale of ratios.
    """

    x: str
    y: str
    value: str
    labels: tuple[str, str, str]
    diagonal: bool = True
    low: float | None = None
    logarithmic: bool = False


OptionsT = TypeVar("OptionsT", bound=Options)


class Analysis(ABC, Generic[OptionsT]):
    """One analysis; an instance of its class is the member of the open set, and has no state.

    The module of an analysis imports no torch before something is measured, so that a saved table
    is listed and drawn without it.

    Attributes:
        name: As ``ensembles.analyze`` and ``ensembles analyze`` take it.
        summary: One line for lists.
        source: Paper and section.
        options: The class of its options.
        label: Columns of its table that tell its rows apart, first.
        shown: Columns that a terminal shows; empty for all.
        figure: The function that draws its tables, as "module:function"; a member from outside may
            define `draw` instead.
        heat_map: What is drawn as a heat map, for analyses of pairs of blocks.
        by_lesion: Whether a store keeps the lesions that it measures instead of its table.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str] = ""
    options: type[OptionsT]
    label: ClassVar[tuple[str, ...]] = ()
    shown: ClassVar[tuple[str, ...]] = ()
    figure: ClassVar[str] = ""
    heat_map: ClassVar[HeatMap | None] = None
    by_lesion: ClassVar[bool] = False

    def title(self, options: OptionsT) -> str:
        """The analysis in a few words: its name, and options that are not as usual."""
        usual = options.defaults()
        told = [
            f"{name} {value}"
            for name, value in options.determining.items()
            if name != "seed" and value != usual.get(name)
        ]
        return f"{self.name} ({', '.join(told)})" if told else self.name

    def table(self, options: OptionsT) -> str:
        """Name of the table of a study that its rows stand in; rows with other columns need one."""
        return self.name

    def told(self, frame: pd.DataFrame, options: OptionsT) -> dict[str, Any]:
        """What tells its rows from those made with other options, as columns of such a table."""
        return {
            name: value for name, value in options.determining.items() if name not in frame.columns
        }

    def check(self, net: Decomposition, options: OptionsT) -> None:
        """Refuse a network on which the analysis has no meaning, in a line, before anything runs.

        Raises:
            EnsemblesError: Saying why.
        """

    def needs(self, net: Decomposition, options: OptionsT) -> tuple[Need, ...]:
        """What is taken of another split of the data where nothing else is given for it.

        A store tells results by it, beside what is given.
        """
        return ()

    def precision(self, net: Decomposition, options: OptionsT, asked: str | None) -> str:
        """In which precision it computes, where one is asked for or none; fp32 by default."""
        return asked or "fp32"

    def engine(self, options: OptionsT) -> str:
        """Which engine computes, by which a store keeps results apart."""
        return "shared"

    @abstractmethod
    def measure(self, net: Decomposition, data: Any, options: OptionsT, run: Run) -> pd.DataFrame:
        """Measure; the table's ``attrs`` hold what :mod:`ensembles.tables.schema` says."""

    def draw(self, frames: Sequence[pd.DataFrame]) -> Figure:
        """Draw tables of one network each; no torch is needed for it.

        Raises:
            UsageError: If the tables hold nothing to draw, or the analysis has no figure.
        """
        figure: Figure = self.drawing(list(frames))
        return figure

    @property
    def drawing(self) -> Callable[..., Any]:
        """The function that `figure` names, or that draws heat maps."""
        if self.heat_map is not None:
            drawn: Callable[..., Any] = import_module("ensembles.plots.heat_map").heat_maps
            return partial(drawn, shown=self.heat_map)
        if not self.figure:
            raise UsageError(f"the analysis '{self.name}' has no figure")
        home, _, function = self.figure.partition(":")
        found: Callable[..., Any] = getattr(import_module(home), function)
        return found

    def views(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Further tables that a table's ``attrs`` hold, by their title."""
        return {}

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """What a table shows, in lines for a terminal and a report."""
        return []
