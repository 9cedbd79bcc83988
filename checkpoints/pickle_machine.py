"""A machine that follows a pickle without doing what it says: no name is imported, nothing is run.

Python's own unpickler can be kept from importing, but not from hashing what is used as a key, and
a few hundred bytes of nested tuples hash for longer than a life. Here every step costs a bounded
time, and their number, the sizes of numbers and all lengths are held against the bytes there are.
"""

from __future__ import annotations

import codecs
import mmap
import struct
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from ensembles.errors import CheckpointError

from .inert import Foreign, Named

__all__ = ["MOST_STEPS", "Buffer", "Meanings", "follow"]

Buffer: TypeAlias = "bytes | bytearray | memoryview | mmap.mmap"
MOST_STEPS = 3_000_000
_LONGEST_NUMBER = 128
_DAMAGE = (
    *(LookupError, ArithmeticError, struct.error, ValueError, TypeError, AttributeError),
    *(RecursionError, MemoryError),
)
_PLAIN_KEYS = (str, int, float, bytes, bool, type(None))


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
    machine = _Machine(data, start, meanings)
    try:
        return machine.run(), machine.place
    except CheckpointError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"its pickle is damaged at byte {machine.place:,} ({reason})"
        ) from error


class _Mark:
    """Where a group of values begins on the stack."""


_MARK = _Mark()
_STEPS: dict[int, Callable[[_Machine], None]] = {}


def _step(code: bytes) -> Callable[[Callable[[_Machine], None]], Callable[[_Machine], None]]:
    def register(function: Callable[[_Machine], None]) -> Callable[[_Machine], None]:
        _STEPS[code[0]] = function
        return function

    return register


class _Machine:
    def __init__(self, data: Buffer, start: int, meanings: Meanings) -> None:
        self.data = memoryview(data)
        self.place = start
        self.meanings = meanings
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MOST_STEPS):
            code = self.data[self.place]
            self.place += 1
            if code == _STOP:
                if len(self.stack) != 1:
                    raise ValueError(f"{len(self.stack)} values are left at its end")
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                raise ValueError(f"there is no step {bytes([code])!r}")
            step(self)
        raise CheckpointError(f"its pickle has more than {MOST_STEPS:,} steps")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def popped(self) -> list[Any]:
        """What lies above the last mark, which goes too."""
        stack = self.stack
        place = len(stack) - 1
        while stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("a mark is missing")
        values = stack[place + 1 :]
        del stack[place:]
        return values

    def take(self, length: int) -> memoryview:
        end = self.place + length
        if end > len(self.data):
            raise ValueError(f"{length:,} bytes are declared, {len(self.data) - self.place:,} left")
        part = self.data[self.place : end]
        self.place = end
        return part

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def line(self) -> str:
        end = self.place
        while self.data[end] != _NEWLINE:
            end += 1
            if end - self.place > _LONGEST_LINE:
                raise ValueError("a line has no end")
        text = bytes(self.data[self.place : end])
        self.place = end + 1
        return text.decode("latin1")

    def put(self, container: Any, key: Any, value: Any) -> None:
        if isinstance(container, dict):
            container[_key(key)] = value
        elif isinstance(container, Foreign):
            container.items.append((key, value))
        else:
            raise ValueError(f"a key is set in a {type(container).__name__}")

    def add(self, container: Any, values: list[Any]) -> None:
        if isinstance(container, list):
            container.extend(values)
        elif isinstance(container, Foreign):
            container.items.extend(values)
        else:
            raise ValueError(f"a value is added to a {type(container).__name__}")

    def call(self, function: Any, arguments: Any) -> None:
        if not isinstance(arguments, tuple):
            raise ValueError("a call has no tuple of arguments")
        self.stack.append(self.meanings.call(function, arguments))


_STOP = b"."[0]
_NEWLINE = b"\n"[0]
_LONGEST_LINE = 1 << 20


def _key(key: Any) -> Any:
    """A key whose hash costs nothing: anything but plain values is replaced."""
    return key if isinstance(key, _PLAIN_KEYS) else Foreign(f"a {type(key).__name__} as a key")


def _whole(text: str) -> Any:
    if len(text) > _LONGEST_NUMBER:
        return Foreign("builtins.int")
    return int(text)


def _constants() -> None:
    def constant(code: bytes, value: Any) -> None:
        _step(code)(lambda machine: machine.stack.append(value))

    for code, value in ((b"N", None), (b"\x88", True), (b"\x89", False), (b")", ()), (b"(", _MARK)):
        constant(code, value)


def _numbers() -> None:
    def fixed(code: bytes, form: str) -> None:
        _step(code)(lambda machine: machine.stack.append(machine.number(form)))

    def long(code: bytes, form: str) -> None:
        def step(machine: _Machine) -> None:
            part = machine.take(machine.number(form))
            small = len(part) <= _LONGEST_NUMBER
            value = int.from_bytes(part, "little", signed=True) if small else Foreign("int")
            machine.stack.append(value)

        _step(code)(step)

    for code, form in ((b"J", "<i"), (b"K", "<B"), (b"M", "<H")):
        fixed(code, form)
    for code, form in ((b"\x8a", "<B"), (b"\x8b", "<I")):
        long(code, form)


def _texts() -> None:
    def text(code: bytes, form: str, read: Callable[[memoryview], Any]) -> None:
        _step(code)(lambda machine: machine.stack.append(read(machine.take(machine.number(form)))))

    def unicode(part: memoryview) -> str:
        return str(part, "utf-8", "surrogatepass")

    def latin(part: memoryview) -> str:
        return str(part, "latin1")

    for code, form in ((b"X", "<I"), (b"\x8c", "<B"), (b"\x8d", "<Q")):
        text(code, form, unicode)
    for code, form in ((b"T", "<I"), (b"U", "<B")):
        text(code, form, latin)
    for code, form in ((b"B", "<I"), (b"C", "<B"), (b"\x8e", "<Q"), (b"\x96", "<Q")):
        text(code, form, bytes)


_constants()
_numbers()
_texts()


@_step(b"\x80")
def _protocol(machine: _Machine) -> None:
    if machine.number("<B") > 5:
        raise ValueError("its protocol is above 5")


@_step(b"\x95")
def _frame(machine: _Machine) -> None:
    machine.number("<Q")


@_step(b"G")
def _binary_float(machine: _Machine) -> None:
    machine.stack.append(struct.unpack(">d", machine.take(8))[0])


@_step(b"F")
def _float(machine: _Machine) -> None:
    machine.stack.append(float(machine.line()))


@_step(b"I")
def _integer(machine: _Machine) -> None:
    text = machine.line()
    machine.stack.append(
        {"00": False, "01": True}.get(text) if text in ("00", "01") else _whole(text)
    )


@_step(b"L")
def _long(machine: _Machine) -> None:
    machine.stack.append(_whole(machine.line().removesuffix("L")))


@_step(b"S")
def _string(machine: _Machine) -> None:
    quoted = machine.line().strip()
    if len(quoted) < 2 or quoted[0] != quoted[-1] or quoted[0] not in "'\"":
        raise ValueError("a text has no quotes")
    plain, _ = codecs.escape_decode(quoted[1:-1].encode("latin1"))
    machine.stack.append(plain.decode("latin1"))


@_step(b"V")
def _raw_unicode(machine: _Machine) -> None:
    machine.stack.append(machine.line().encode("latin1").decode("raw_unicode_escape"))


@_step(b"0")
def _pop(machine: _Machine) -> None:
    machine.stack.pop()


@_step(b"1")
def _pop_mark(machine: _Machine) -> None:
    machine.popped()


@_step(b"2")
def _duplicate(machine: _Machine) -> None:
    machine.stack.append(machine.stack[-1])


@_step(b"]")
def _empty_list(machine: _Machine) -> None:
    machine.stack.append([])


@_step(b"}")
def _empty_dict(machine: _Machine) -> None:
    machine.stack.append({})


@_step(b"\x8f")
def _empty_set(machine: _Machine) -> None:
    machine.stack.append(Foreign("builtins.set"))


@_step(b"l")
def _list(machine: _Machine) -> None:
    machine.stack.append(machine.popped())


@_step(b"t")
def _tuple(machine: _Machine) -> None:
    machine.stack.append(tuple(machine.popped()))


@_step(b"d")
def _dict(machine: _Machine) -> None:
    values = machine.popped()
    made: dict[Any, Any] = {}
    for key, value in zip(values[::2], values[1::2], strict=True):
        made[_key(key)] = value
    machine.stack.append(made)


@_step(b"\x91")
def _frozen_set(machine: _Machine) -> None:
    machine.stack.append(Foreign("builtins.frozenset", items=machine.popped()))


def _short_tuples() -> None:
    def tuples(code: bytes, length: int) -> None:
        def step(machine: _Machine) -> None:
            values = [machine.pop() for _ in range(length)]
            machine.stack.append(tuple(reversed(values)))

        _step(code)(step)

    for number, code in enumerate((b"\x85", b"\x86", b"\x87"), 1):
        tuples(code, number)


_short_tuples()


@_step(b"a")
def _append(machine: _Machine) -> None:
    value = machine.pop()
    machine.add(machine.stack[-1], [value])


@_step(b"e")
@_step(b"\x90")
def _appends(machine: _Machine) -> None:
    values = machine.popped()
    machine.add(machine.stack[-1], values)


@_step(b"s")
def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.put(machine.stack[-1], key, value)


@_step(b"u")
def _set_items(machine: _Machine) -> None:
    values = machine.popped()
    for key, value in zip(values[::2], values[1::2], strict=True):
        machine.put(machine.stack[-1], key, value)


def _memo() -> None:
    def remembered(code: bytes, index: Callable[[_Machine], int]) -> None:
        def step(machine: _Machine) -> None:
            machine.memo[index(machine)] = machine.stack[-1]

        _step(code)(step)

    def recalled(code: bytes, index: Callable[[_Machine], int]) -> None:
        _step(code)(lambda machine: machine.stack.append(machine.memo[index(machine)]))

    for code, form in ((b"q", "<B"), (b"r", "<I")):
        remembered(code, lambda machine, form=form: machine.number(form))  # type: ignore[misc]
    for code, form in ((b"h", "<B"), (b"j", "<I")):
        recalled(code, lambda machine, form=form: machine.number(form))  # type: ignore[misc]
    remembered(b"p", lambda machine: int(machine.line()[:20]))
    recalled(b"g", lambda machine: int(machine.line()[:20]))
    remembered(b"\x94", lambda machine: len(machine.memo))


_memo()


@_step(b"c")
def _global(machine: _Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.stack.append(Named(f"{module}.{name}"))


@_step(b"\x93")
def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("a name is no text")
    machine.stack.append(Named(f"{module}.{name}"))


@_step(b"R")
@_step(b"\x81")
def _reduce(machine: _Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.call(function, arguments)


@_step(b"\x92")
def _new_with_names(machine: _Machine) -> None:
    named, arguments, function = machine.pop(), machine.pop(), machine.pop()
    machine.call(function, (*arguments, named))


@_step(b"i")
def _instance(machine: _Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.call(Named(f"{module}.{name}"), tuple(machine.popped()))


@_step(b"o")
def _object(machine: _Machine) -> None:
    function, *arguments = machine.popped()
    machine.call(function, tuple(arguments))


@_step(b"b")
def _build(machine: _Machine) -> None:
    state = machine.pop()
    machine.meanings.build(machine.stack[-1], state)


@_step(b"Q")
def _binary_persistent(machine: _Machine) -> None:
    machine.stack.append(machine.meanings.persistent(machine.pop()))


@_step(b"P")
def _persistent(machine: _Machine) -> None:
    machine.stack.append(machine.meanings.persistent(machine.line()))
