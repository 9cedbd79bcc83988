"""A bar on a terminal, silence in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ensembles.printable import printable

__all__ = ["Progress", "bar"]

Progress = Callable[[int, int], None]
"""Called with the work done so far and all of it (0 where that is not known)."""

_LARGE = 100_000  # from here on numbers are shown in thousands and millions


@contextmanager
def bar(
    title: str | Callable[[], str],
    unit: str,
    *,
    shown: bool | Progress | None = None,
    delay: float = 0.0,
) -> Iterator[Progress]:
    """Show progress on standard error while a block of code runs.

    Args:
        title: What is going on; a function where that changes.
        unit: What is counted.
        shown: Whether to show it, by default only on a terminal; or a function that is told
            instead, as the bar of a larger work.
        delay: Seconds before it shows itself.

    Yields:
        A function that takes the work done and all of it. What is done at its first call was done
        before, and tells nothing of the pace.
    """
    if callable(shown):
        yield shown
        return
    from tqdm import tqdm  # noqa: PLC0415 - kept out of a plain import of the library

    there = sys.stderr is not None  # it is None where standard error is closed
    visible = there and (sys.stderr.isatty() if shown is None else shown)
    with tqdm(
        desc=_said(title),
        unit=unit,
        disable=not visible,
        leave=False,
        delay=delay,
        file=sys.stderr,
    ) as display:

        def update(done: int, total: int) -> None:
            if display.total is None:
                display.initial = display.n = display.last_print_n = done
            if total and display.total != total:
                display.total, display.unit_scale = total, total >= _LARGE
            if callable(title):
                display.set_description_str(_said(title), refresh=False)
            display.update(done - display.n)
            if callable(title):
                display.refresh()

        yield update


def _said(title: str | Callable[[], str]) -> str:
    return printable(title() if callable(title) else title, lines=False)
