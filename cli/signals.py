"""A request to end is treated as an interruption from the keyboard, and ends the program."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["GRACE", "interruptible"]

GRACE = 120
"""Seconds that work in hand gets to end in order; code that goes on after them is killed."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, so that work in hand is ended in order.

    Code that swallows it, such as a network's own file, is killed after `GRACE` seconds.
    """
    asked = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        asked.append(signal.SIGINT)
    try:
        before = {number: signal.signal(number, _interrupt) for number in asked}
    except ValueError:  # not in the main thread, which alone gets signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(GRACE)
    raise KeyboardInterrupt
