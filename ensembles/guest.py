"""Code of other packages and of a user's own files, run so that it disturbs nothing but itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["guest"]

_ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def guest(patience: float | None) -> Iterator[None]:
    """Import somebody else's module in the body, or call its function.

    What it prints is no result and goes to standard error; the folder that it changes to is left
    again. Somebody who asks the program to end is heard as ever.

    Args:
        patience: Seconds after which the body is stopped, in the main thread, where alone this can
            be done; None for never.

    Raises:
        RuntimeError: If it takes too long, or interrupts the program by itself. Whatever else it
            raises, `SystemExit` too, comes as it is.
    """
    asked: list[int] = []
    with ExitStack() as stack:
        stack.enter_context(_same_folder())
        stack.enter_context(_no_output())
        if threading.current_thread() is threading.main_thread():
            stack.enter_context(_heard(asked))
            if patience is not None and hasattr(signal, "setitimer"):
                stack.enter_context(_hurried(asked, patience))
        try:
            yield
        except KeyboardInterrupt as error:
            if asked or threading.current_thread() is not threading.main_thread():
                raise
            raise RuntimeError("it interrupts the program") from error


@contextmanager
def _same_folder() -> Iterator[None]:
    try:
        before: Path | None = Path.cwd()
    except OSError:  # it is gone
        before = None
    try:
        yield
    finally:
        if before is not None:
            with suppress(OSError):
                os.chdir(before)


@contextmanager
def _no_output() -> Iterator[None]:
    """Send to standard error what goes to standard output, past Python too."""
    with redirect_stdout(sys.stderr):
        try:
            kept = os.dup(1)
            os.dup2(2, 1)
        except OSError:  # one of them is closed
            yield
            return
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


@contextmanager
def _heard(asked: list[int]) -> Iterator[None]:
    """Note which requests to end come while the body runs, and do with them what is always done."""

    def noting(before: Callable[[int, FrameType | None], Any]) -> Callable[..., Any]:
        def note(number: int, frame: FrameType | None) -> Any:
            asked.append(number)
            return before(number, frame)

        return note

    handlers = {number: signal.getsignal(number) for number in _ENDING}
    for number, before in handlers.items():
        if callable(before):
            signal.signal(number, noting(before))
    try:
        yield
    finally:
        for number, before in handlers.items():
            if before is not None:
                signal.signal(number, before)


@contextmanager
def _hurried(asked: list[int], patience: float) -> Iterator[None]:
    """Stop the body when it takes too long."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise RuntimeError(f"it takes longer than {patience} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, patience)
    try:
        yield
    finally:
        if not asked:  # else the alarm is that of a program which is to end
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before or signal.SIG_DFL)
