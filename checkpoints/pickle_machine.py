"""A machine that follows a pickle without doing what it says: no name is imported, nothing is run.

Python's own unpickler can be kept from importing, but not from hashing what is used as a key, and
a few hundred bytes of nested tuples hash for longer than a life. Here every step costs a bounded
time, and their number, the sizes of numbers and all lengths are held against the bytes there are.
"""

from __future__ import annotations

import mmap
import struct
from typing import Any, Protocol, TypeAlias

from ensembles.errors import CheckpointError

from .inert import Foreign
from .pickle_steps import MARK, STEPS, plain_key

__all__ = ["MOST_STEPS", "Buffer", "Machine", "Meanings", "follow"]

Buffer: TypeAlias = "bytes | bytearray | memoryview | mmap.mmap"
MOST_STEPS = 3_000_000
_STOP = b"."[0]
_NEWLINE = b"\n"[0]
_LONGEST_LINE = 1 << 20
_DAMAGE = (
    *(LookupError, ArithmeticError, struct.error, ValueError, TypeError, AttributeError),
    *(RecursionError, MemoryError),
)


class Meanings(Protocol):
    """What the names in a pickle mean to whoever reads it."""

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """What a call of something named, or the making of an object, gives."""

    def build(self, made: Any, state: Any) -> None:
        """Give something that was made its state."""

    def persistent(self, identity: Any) -> Any:
        """What lies outside the pickle under an identity."""


def follow(data: Buffer, start: int, meanings: Meanings) -> tuple[Any, int]:
    """Read one pickle.

    Args:
        data: What holds it.
        start: Where it starts.
        meanings: What its names mean.

    Returns:
        Its value, of dicts, lists, tuples, plain values and what ``meanings`` makes, and the place
        behind its end. Keys that are no plain values are replaced by stand-ins.

    Raises:
        CheckpointError: When it is damaged, or has more steps than any file of weights.
    """
    machine = Machine(data, start, meanings)
    try:
        return machine.run(), machine.place
    except CheckpointError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"its pickle is damaged at byte {machine.place:,} ({reason})"
        ) from error


class Machine:
    """The stack and the memory of one pickle that is read.

    Args:
        data: What holds it.
        start: Where it starts.
        meanings: What its names mean.
    """

    def __init__(self, data: Buffer, start: int, meanings: Meanings) -> None:
        self.data = memoryview(data)
        self.place = start
        self.meanings = meanings
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Follow the pickle to its end, and give its value."""
        for _ in range(MOST_STEPS):
            code = self.data[self.place]
            self.place += 1
            if code == _STOP:
                if len(self.stack) != 1:
                    raise ValueError(f"{len(self.stack)} values are left at its end")
                return self.pop()
            step = STEPS.get(code)
            if step is None:
                raise ValueError(f"there is no step {bytes([code])!r}")
            step(self)
        raise CheckpointError(f"its pickle has more than {MOST_STEPS:,} steps")

    def pop(self) -> Any:
        """The topmost value, which goes."""
        value = self.stack.pop()
        if value is MARK:
            raise ValueError("a value is missing")
        return value

    def popped(self) -> list[Any]:
        """What lies above the last mark, which goes too."""
        stack = self.stack
        place = len(stack) - 1
        while stack[place] is not MARK:
            place -= 1
            if place < 0:
                raise ValueError("a mark is missing")
        values = stack[place + 1 :]
        del stack[place:]
        return values

    def take(self, length: int) -> memoryview:
        """The next bytes."""
        end = self.place + length
        if end > len(self.data):
            raise ValueError(f"{length:,} bytes are declared, {len(self.data) - self.place:,} left")
        part = self.data[self.place : end]
        self.place = end
        return part

    def number(self, form: str) -> int:
        """The next bytes as a whole number, in the form of ``struct``."""
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def line(self) -> str:
        """The next bytes up to the end of the line."""
        end = self.place
        while self.data[end] != _NEWLINE:
            end += 1
            if end - self.place > _LONGEST_LINE:
                raise ValueError("a line has no end")
        text = bytes(self.data[self.place : end])
        self.place = end + 1
        return text.decode("latin1")

    def put(self, container: Any, key: Any, value: Any) -> None:
        """Set a key of a dict, or note it of what stands for an object."""
        if isinstance(container, dict):
            container[plain_key(key)] = value
        elif isinstance(container, Foreign):
            container.items.append((key, value))
        else:
            raise ValueError(f"a key is set in a {type(container).__name__}")

    def add(self, container: Any, values: list[Any]) -> None:
        """Add values to a list, or note them of what stands for an object."""
        if isinstance(container, list):
            container.extend(values)
        elif isinstance(container, Foreign):
            container.items.extend(values)
        else:
            raise ValueError(f"a value is added to a {type(container).__name__}")

    def call(self, function: Any, arguments: Any) -> None:
        """Put what a call means on the stack."""
        if not isinstance(arguments, tuple):
            raise ValueError("a call has no tuple of arguments")
        self.stack.append(self.meanings.call(function, arguments))
