"""A request to end is treated as an interruption from the keyboard, and ends the program."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["AGAIN", "GRACE", "interruptible"]

GRACE = 120
"""Seconds that work in hand gets to end in order; code that goes on after them is killed."""

AGAIN = 1.0
"""Seconds after which a request that was lost is made again."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, so that work in hand is ended in order.

    Where Python drops the exception, as in what is called when an object ends, it is raised again.
    Code that swallows it, such as a network's own file, is killed after `GRACE` seconds.
    """
    asked = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        asked.append(signal.SIGINT)
    request = _Request()
    try:
        before = {number: signal.signal(number, request.hear) for number in asked}
    except ValueError:  # not in the main thread, which alone gets signals
        yield
        return
    try:
        yield
    finally:
        try:
            request.end()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if hasattr(signal, "alarm"):
                signal.alarm(0)


class _Request:
    """Somebody's request to end."""

    def __init__(self) -> None:
        self._over, self._sending = threading.Event(), threading.Lock()
        self._made = False

    def end(self) -> None:
        """Ask no more: nothing is left that could end, and a signal would kill what comes after."""
        self._over.set()
        with self._sending:
            pass  # a request that is on its way has come

    def hear(self, _number: int, _frame: FrameType | None) -> None:
        if not self._made:
            self._made = True
            if hasattr(signal, "alarm"):
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(GRACE)
            threading.Thread(target=self._repeat, daemon=True).start()
        raise KeyboardInterrupt

    def _repeat(self) -> None:
        while not self._over.wait(AGAIN):
            with self._sending:
                if self._over.is_set() or _is_ending():
                    return
                if hasattr(signal, "pthread_kill"):  # which wakes it
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                else:
                    signal.raise_signal(signal.SIGTERM)


def _is_ending() -> bool:
    """Whether the main thread is at work on an interruption."""
    found = sys._current_exceptions().get(threading.main_thread().ident or 0)
    error = found[1] if isinstance(found, tuple) else found  # a tuple before Python 3.12
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
