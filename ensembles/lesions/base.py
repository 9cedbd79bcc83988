"""What every lesion is: a frozen value that names blocks and says what runs."""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from inspect import get_annotations
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ensembles.errors import LesionError
from ensembles.lesions.needs import Need
from ensembles.lesions.orders import kendall_tau
from ensembles.lesions.steps import Bypass, Program, Run, intact_program
from ensembles.lesions.structure import Structure, require_flow

if TYPE_CHECKING:
    from typing_extensions import Self

    from ensembles.lesions.choice import Choice
    from ensembles.lesions.members.recalibrated import Recalibration

__all__ = ["Draw", "Lesion", "Setting", "Words", "setting"]


class Draw(NamedTuple):
    """Which random draw a lesion came from; no part of what it is.

    Attributes:
        trial: Number of the draw, from 0.
        seed: Seed of the draws.
    """

    trial: int
    seed: int


class Words(NamedTuple):
    """What axes and tables call a kind of lesion.

    Attributes:
        one: Axis of a figure by block, such as "Deleted block".
        several: Axis of a figure by count, such as "Number of deleted blocks".
        done: Past participle, such as "deleted".
    """

    one: str
    several: str
    done: str


class Setting(NamedTuple):
    """A setting of a kind, beside the blocks: a field of its class with a default.

    Attributes:
        name: Of the attribute, and of the option on the command line.
        type: "int", "float", "str" or "bool".
        default: Where nothing is said; MISSING where something must be.
        help: One line.
        choices: The values that there are; empty for any.
    """

    name: str
    type: str
    default: Any
    help: str
    choices: tuple[str, ...]


class _Kinds(ABCMeta):
    """``Lesion("delete", (3, 17))``, as version 1 wrote it, makes the value of that kind."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a lesion."""
        if cls.__name__ == "Lesion" and cls.__module__ == __name__:
            from ensembles.lesions import lesion_of  # noqa: PLC0415 (knows all kinds)

            return lesion_of(*args, **kwargs)
        return super().__call__(*args, **kwargs)


@dataclass(frozen=True)
class Lesion(metaclass=_Kinds):
    """A change to the blocks of a trained network.

    A subclass is one kind. It is a frozen dataclass with a `kind`, and says how it is written
    (`text`), read (`parse`), held against a network (`check`), and what runs (`rewrite`).

    Attributes:
        draw: Which random draw it came from; two lesions that do the same are equal whatever draw
            they came from.
        blocks: The blocks that it names, sorted, each once; a field or a property of the kind.
        kind: Its name in tables, in files and on the command line.
        summary: One line for lists and help.
        words: What axes call it.
        usual: How many blocks a sweep takes at once where nothing is said.
    """

    draw: Draw | None = field(default=None, kw_only=True, compare=False, repr=False)

    kind: ClassVar[str]
    summary: ClassVar[str]
    words: ClassVar[Words]
    usual: ClassVar[int] = 1

    if TYPE_CHECKING:  # a field of most kinds, a property of others

        @property
        def blocks(self) -> tuple[int, ...]:
            """See the class."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a field that would stand in the way of what every lesion has."""
        super().__init_subclass__(**kwargs)
        taken = {name for name, value in vars(Lesion).items() if isinstance(value, property)}
        for name, annotation in get_annotations(cls).items():
            if name in taken and "ClassVar" not in str(annotation):
                raise TypeError(
                    f"{cls.__name__}: a field '{name}' hides what every lesion has; call it "
                    "otherwise"
                )

    # How it is written

    @property
    @abstractmethod
    def text(self) -> str:
        """Its whole identity beside the kind, a seed of its own included, such as ``"3 17"``."""

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Self:
        """Read :attr:`text` back.

        Raises:
            LesionError: Saying what was found and what was expected.
        """

    def __str__(self) -> str:
        return f"{self.kind} {self.text}".strip()

    @property
    def count(self) -> int:
        """How large it is: blocks, swaps, branches or the length of a span."""
        return len(self.blocks)

    @property
    def is_intact(self) -> bool:
        """Whether it is the network as it is."""
        return False

    @property
    def trial(self) -> int | None:
        """Number of the random draw, from 0; None where nothing was drawn."""
        return None if self.draw is None else self.draw.trial

    def drawn(self, trial: int, seed: int) -> Self:
        """The same lesion, as it came from a random draw."""
        return self._with_draw(Draw(trial, seed))

    def bare(self) -> Self:
        """The same lesion by itself, whatever draw it came from."""
        return self if self.draw is None else self._with_draw(None)

    def _with_draw(self, draw: Draw | None) -> Self:
        """A copy that is not checked again: nothing that is checked changes."""
        twin: Self = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, draw=draw)
        return twin

    def described(self, names: Sequence[str]) -> str:
        """The modules that it touches, for tables.

        Args:
            names: Name of each block of the network.
        """
        return " ".join([names[block - 1] for block in self.blocks])

    # What it needs, and what runs

    @property
    def needs(self) -> tuple[Need, ...]:
        """What it needs beside the network."""
        return ()

    def needs_on(self, structure: Structure) -> tuple[Need, ...]:
        """What of this it needs on a network of some structure."""
        return self.needs

    @property
    def recalibration(self) -> Recalibration | None:
        """How BatchNorm statistics are measured anew before it is evaluated; None for not."""
        return None

    def require(self, structure: Structure) -> None:
        """Hold the lesion against a network before anything runs: `check`, and that shapes fit.

        Raises:
            LesionError: Naming the block, what was found, and what to do.
        """
        for block in self.blocks:
            structure.form(block)
        self.check(structure)
        require_flow(str(self), self.program(len(structure)), structure)

    def check(self, structure: Structure) -> None:
        """Refuse what has no meaning on a network; shapes along the program are checked apart.

        Raises:
            LesionError: Naming the block, what was found, and what to do.
        """

    @abstractmethod
    def rewrite(self, program: Program) -> Program:
        """Change what runs.

        Args:
            program: What ran before: the intact network, or what an earlier lesion left.
        """

    def program(self, n: int) -> Program:
        """What runs at each of the ``n`` positions, in order.

        Raises:
            LesionError: If it names a block that the network does not have.
        """
        if self.blocks and not 1 <= self.blocks[0] <= self.blocks[-1] <= n:
            wrong = next(block for block in self.blocks if not 1 <= block <= n)
            raise LesionError(f"block {wrong}: the network has blocks 1 to {n}")
        return self.rewrite(intact_program(n))

    def bypassed(self, n: int) -> tuple[int, ...]:
        """The blocks that run without their branch, each once, sorted."""
        steps = [step for steps in self.program(n) for step in steps]
        return tuple(sorted({step.block for step in steps if isinstance(step, Bypass)}))

    def order(self, n: int) -> tuple[int, ...] | None:
        """Blocks in the order in which they run; None unless each runs whole, once."""
        steps = [step for steps in self.program(n) for step in steps]
        if not all(isinstance(step, Run) for step in steps):
            return None
        order = tuple(step.block for step in steps if isinstance(step, Run))
        return order if sorted(order) == list(range(1, n + 1)) else None

    def kendall_tau(self, n: int) -> float:
        """Kendall rank correlation of the order of the blocks with the intact order.

        Returns:
            1 for the intact network, -1 to 1 where blocks only change places, else NaN.
        """
        order = self.order(n)
        return math.nan if order is None else kendall_tau(order)

    # Made of others

    def then(self, following: Lesion) -> Lesion:
        """This lesion, and then another one of what it leaves."""
        from ensembles.lesions import chain  # noqa: PLC0415 (knows this class)

        return chain((self, following))

    def recalibrated(self, batches: int = 8, batch_size: int = 128) -> Lesion:
        """This lesion, with BatchNorm statistics measured anew on reference data before it counts.

        Args:
            batches: Batches of the reference data, the training split by default.
            batch_size: Observations in each.
        """
        from ensembles.lesions import Recalibrated  # noqa: PLC0415 (knows this class)

        return Recalibrated(self, batches, batch_size)

    # How many of it are made

    @classmethod
    def settings(cls) -> tuple[Setting, ...]:
        """The settings of the kind: its fields that carry a line of help."""
        return tuple(
            Setting(
                one.name,
                _type_name(one.type),
                one.default,
                str(one.metadata["help"]),
                tuple(one.metadata.get("choices", ())),
            )
            for one in fields(cls)
            if "help" in one.metadata
        )

    @classmethod
    def is_random(cls, choice: Choice) -> bool:
        """Whether what a choice makes of the kind depends on its seed."""
        return choice.several

    @classmethod
    def sweep(cls, structure: Structure, choice: Choice) -> list[Lesion]:
        """The lesions of this kind that a choice asks for on a network.

        Raises:
            LesionError: If it leaves none, or the kind has no meaning on the network.
        """
        raise LesionError(
            f"{cls.kind} is not made for every block by itself; name the lesions in a plan"
        )


def setting(help: str, default: Any = MISSING, *, choices: Sequence[str] = ()) -> Any:
    """A field of a kind that the command line and studies offer as a setting."""
    metadata: Mapping[str, Any] = {"help": help, "choices": tuple(choices)}
    return field(default=default, metadata=metadata)


def _type_name(annotation: Any) -> str:
    """The name of a field's type, whether it was written as a text or not; the first of several."""
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", None)
    return str(name or annotation).partition(" |")[0]
