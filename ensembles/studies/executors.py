"""Where the units of a study are measured: an open set of executors, and the call that uses one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from ensembles.analyses.base import Options
from ensembles.open_set import OpenSet
from ensembles.progress import Progress
from ensembles.studies.records import keep_study, opened

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.store import Store
    from ensembles.studies.study import Study, Unit

__all__ = ["EXECUTORS", "Executor", "Setting", "Tell", "run"]

Tell: TypeAlias = Callable[[str], None]
"""Takes a line about what is going on."""


@dataclass(frozen=True)
class Setting:
    """How the units of a study are measured, wherever that is.

    Attributes:
        study: The study.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        batch_size: Rows at a time; by default as many as suit the device.
        check: Whether each intact network's error is held against its card's before it is used.
        options: The executor's own options.
    """

    study: Study
    device: str = "auto"
    batch_size: int | None = None
    check: bool = True
    options: Options = field(default_factory=Options)


class Executor(ABC):
    """A place where units are measured; an instance is the member of the open set.

    It has every unit measured by `ensembles.studies.run_unit`, in this process or in others, which
    get a unit as a pickle or as JSON (`ensembles.studies.written`). The store keeps what comes of
    them, so that a unit that was measured before costs nothing, and one that was begun goes on.

    Attributes:
        name: As ``run(on=...)`` and ``--on`` take it.
        summary: One line for lists.
        options: The class of its options.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    options: type[Options] = Options

    @abstractmethod
    def run(
        self,
        units: Sequence[Unit],
        store: Store,
        setting: Setting,
        progress: bool | Progress | None,
        tell: Tell,
    ) -> None:
        """Have units measured; a unit that cannot be is reported and left out.

        Args:
            units: The units, in their order.
            store: Where results are kept.
            setting: How they are measured.
            progress: Whether to show a bar over all that is missing; by default only on a terminal.
                Or a function to tell instead.
            tell: Takes a line for each unit that was measured or failed.

        Raises:
            StoreError: If the store cannot be read or written.
        """


EXECUTORS: OpenSet[Executor] = OpenSet(
    "executor",
    "ensembles.executors",
    "ensembles.studies.members",
    first=("here",),
    base="ensembles.studies.executors:Executor",
)


def run(
    study: Study,
    store: Store | str | Path,
    on: str | None = None,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    check: bool = True,
    progress: bool | Progress | None = None,
    tell: Tell | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Measure what a store lacks of a study.

    What is measured is in the store for good: a run that was interrupted is continued by the same
    call, on this machine or, with the store, on another; several processes share the work. A unit
    that cannot be measured is reported and left out, and the others go on.

    Args:
        study: What to measure.
        store: Where results are kept, or its path.
        on: Name of the executor; by default the study's own, which is "here" where it names none:
            one unit after the other, in this process.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        batch_size: Rows at a time; by default as many as suit the device.
        check: Whether each intact network's error is held against its card's before it is used.
        progress: Whether to show a bar over all that is missing; by default only on a terminal. Or
            a function to tell instead.
        tell: Takes a line for each unit that was measured or failed.
        options: Options of the executor, in place of the study's.

    Returns:
        As `status`.

    Raises:
        UsageError: If there is no such executor or option, or no such device.
        StoreError: If the store cannot be read or written.
    """
    from ensembles.studies.status import status  # noqa: PLC0415 (pandas)

    name = on or study.run.on
    executor = EXECUTORS.get(name)
    own = study.run.options if name == study.run.on else {}
    chosen = executor.options.made({**own, **options}, f"executor '{name}'")
    setting = Setting(study, device, batch_size, check, chosen)
    with opened(store, "a") as db:
        keep_study(db, study)
        executor.run(study.units(), db, setting, progress, tell or (lambda _line: None))
        return status(study, db)
