"""A table that is filled row by row; what fails, hangs or dies loses its own row alone.

`run_until_done` starts the program that fills it anew behind a group of rows that killed it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

_GRACE = 30.0
"""Seconds beyond its budget, after which a program is killed that hangs where no alarm is heard."""


@dataclass
class Row:
    """One line of the table."""

    name: str
    seconds: float | None = None
    least: float | None = None
    most: float | None = None
    value: str = ""
    note: str = ""

    @property
    def line(self) -> str:
        """As a row of Markdown."""
        spread = "" if self.least is None else f"{self.least:.3f} to {self.most:.3f}"
        median = "" if self.seconds is None else f"{self.seconds:.3f}"
        return f"| {self.name} | {median} | {spread} | {self.value} | {self.note} |"


class Task(NamedTuple):
    """What makes one row.

    Attributes:
        name: What the row is called.
        run: Takes the name; gives the row.
    """

    name: str
    run: Callable[[str], Row]


class Table:
    """Rows as they come, printed and written at once (`gpu.md`, `gpu.json`).

    Args:
        about: The machine.
        folder: Where it is written; rows that are there already stay.
    """

    def __init__(self, about: str, folder: Path) -> None:
        self.about, self.folder = about, folder
        self.rows: list[Row] = []
        self.done: list[str] = []
        if (folder / "gpu.json").is_file():
            held = json.loads((folder / "gpu.json").read_text())
            self.about, self.done = held["about"], held["done"]
            self.rows = [Row(**row) for row in held["rows"]]
        else:
            print(self.head, end="", flush=True)
        self._write()

    @property
    def head(self) -> str:
        """What stands above the rows."""
        titles = "| what | median, s | least to most, s | | |\n|---|---|---|---|---|"
        return f"{self.about}\n\n{titles}\n"

    def add(self, row: Row) -> None:
        """One more row."""
        self.rows.append(row)
        print(row.line, flush=True)
        self._write()

    def end(self, group: str) -> None:
        """A group of rows is whole, or as whole as it gets."""
        self.done.append(group)
        self._write()

    def _write(self) -> None:
        lines = "".join(row.line + "\n" for row in self.rows)
        (self.folder / "gpu.md").write_text(self.head + lines)
        held = {"about": self.about, "done": self.done, "rows": [asdict(one) for one in self.rows]}
        (self.folder / "gpu.json").write_text(json.dumps(held, indent=1))


class OverTimeError(BaseException):
    """A group of rows took its time; nobody on the way takes it for a fault of his own."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """End what takes longer."""

    def ring(*_: object) -> None:
        raise OverTimeError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fill(
    table: Table,
    groups: Mapping[str, tuple[Callable[[], Iterator[Task]], float]],
    budget: float,
    still_works: Callable[[], None],
) -> None:
    """Run groups of rows until the time is over.

    Args:
        table: Gets a row for each task, or what became of it.
        groups: Each gives its tasks; and the seconds after which it ends.
        budget: Seconds for all.
        still_works: Called after a failure; raises where the device is lost.
    """
    end = time.monotonic() + budget
    for name, (tasks, most) in groups.items():
        left = min(most, end - time.monotonic())
        if left < 1:
            table.add(Row(name, note="left out: the time was over"))
        else:
            begun = time.monotonic()
            try:
                with limited(left):
                    _run_all(table, name, tasks, still_works)
            except OverTimeError:
                table.add(Row(name, note=f"ended after {time.monotonic() - begun:.0f} s"))
        table.end(name)


def _run_all(
    table: Table, group: str, tasks: Callable[[], Iterator[Task]], still_works: Callable[[], None]
) -> None:
    name = group
    try:
        for task in tasks():
            name = task.name
            try:
                table.add(task.run(name))
            except Exception as error:
                table.add(failed(name, error))
                still_works()
            name = group
    except Exception as error:  # what comes before a task, or the device is lost
        table.add(failed(name, error))
        still_works()


def failed(name: str, error: BaseException) -> Row:
    """The row of what did not work."""
    words = " ".join(str(error).split())[:300].replace("|", "/")
    return Row(name, note=f"FAILED: {type(error).__name__}: {words}")


def run_until_done(
    command: Sequence[str], groups: Sequence[str], folder: Path, budget: float
) -> list[Row]:
    """Run a program that fills a table; where it dies, go on behind the group that it died in.

    Args:
        command: Takes `--rows GROUPS --budget SECONDS` at its end, and fills the table of a folder.
        groups: The groups of rows.
        folder: The folder.
        budget: Seconds for all.
    """
    left, end, lines = list(groups), time.monotonic() + budget, list[Row]()
    while left:
        seconds = max(end - time.monotonic(), 0.0)
        given = [*command, "--rows", ",".join(left), "--budget", f"{seconds:.0f}"]
        try:
            code = subprocess.run(given, check=False, timeout=seconds + _GRACE).returncode
            why = f"the process ended with {code}"
        except subprocess.TimeoutExpired:
            code, why = 1, "the process had to be killed"
        table = Table("the program did not begin", folder)
        if code == 0:
            return table.rows
        dead = next((name for name in left if name not in table.done), left[-1])
        table.add(Row(dead, note=f"FAILED: {why}"))
        table.end(dead)
        left = left[left.index(dead) + 1 :]
        lines = table.rows
    return lines
