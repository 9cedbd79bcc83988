"""The steps of a pickle, each as what it does to the stack of a machine that runs nothing."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .inert import Foreign, Named

if TYPE_CHECKING:
    from .pickle_machine import Machine

__all__ = ["MARK", "STEPS", "plain_key"]

_LONGEST_NUMBER = 128
_PLAIN_KEYS = (str, int, float, bytes, bool, type(None))


class _Mark:
    """Where a group of values begins on the stack."""


MARK = _Mark()
STEPS: dict[int, Callable[[Machine], None]] = {}


def _step(code: bytes) -> Callable[[Callable[[Machine], None]], Callable[[Machine], None]]:
    def register(function: Callable[[Machine], None]) -> Callable[[Machine], None]:
        STEPS[code[0]] = function
        return function

    return register


def plain_key(key: Any) -> Any:
    """A key whose hash costs nothing: anything but plain values is replaced."""
    return key if isinstance(key, _PLAIN_KEYS) else Foreign(f"a {type(key).__name__} as a key")


def _whole(text: str) -> Any:
    if len(text) > _LONGEST_NUMBER:
        return Foreign("builtins.int")
    return int(text)


def _constants() -> None:
    def constant(code: bytes, value: Any) -> None:
        _step(code)(lambda machine: machine.stack.append(value))

    for code, value in ((b"N", None), (b"\x88", True), (b"\x89", False), (b")", ()), (b"(", MARK)):
        constant(code, value)


def _numbers() -> None:
    def fixed(code: bytes, form: str) -> None:
        _step(code)(lambda machine: machine.stack.append(machine.number(form)))

    def long(code: bytes, form: str) -> None:
        def step(machine: Machine) -> None:
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
def _protocol(machine: Machine) -> None:
    if machine.number("<B") > 5:
        raise ValueError("its protocol is above 5")


@_step(b"\x95")
def _frame(machine: Machine) -> None:
    machine.number("<Q")


@_step(b"G")
def _binary_float(machine: Machine) -> None:
    machine.stack.append(struct.unpack(">d", machine.take(8))[0])


@_step(b"F")
def _float(machine: Machine) -> None:
    machine.stack.append(float(machine.line()))


@_step(b"I")
def _integer(machine: Machine) -> None:
    text = machine.line()
    machine.stack.append(
        {"00": False, "01": True}.get(text) if text in ("00", "01") else _whole(text)
    )


@_step(b"L")
def _long(machine: Machine) -> None:
    machine.stack.append(_whole(machine.line().removesuffix("L")))


@_step(b"S")
def _string(machine: Machine) -> None:
    quoted = machine.line().strip()
    if len(quoted) < 2 or quoted[0] != quoted[-1] or quoted[0] not in "'\"":
        raise ValueError("a text has no quotes")
    plain, _ = codecs.escape_decode(quoted[1:-1].encode("latin1"))
    machine.stack.append(plain.decode("latin1"))


@_step(b"V")
def _raw_unicode(machine: Machine) -> None:
    machine.stack.append(machine.line().encode("latin1").decode("raw_unicode_escape"))


@_step(b"0")
def _pop(machine: Machine) -> None:
    machine.stack.pop()


@_step(b"1")
def _pop_mark(machine: Machine) -> None:
    machine.popped()


@_step(b"2")
def _duplicate(machine: Machine) -> None:
    machine.stack.append(machine.stack[-1])


@_step(b"]")
def _empty_list(machine: Machine) -> None:
    machine.stack.append([])


@_step(b"}")
def _empty_dict(machine: Machine) -> None:
    machine.stack.append({})


@_step(b"\x8f")
def _empty_set(machine: Machine) -> None:
    machine.stack.append(Foreign("builtins.set"))


@_step(b"l")
def _list(machine: Machine) -> None:
    machine.stack.append(machine.popped())


@_step(b"t")
def _tuple(machine: Machine) -> None:
    machine.stack.append(tuple(machine.popped()))


@_step(b"d")
def _dict(machine: Machine) -> None:
    values = machine.popped()
    made: dict[Any, Any] = {}
    for key, value in zip(values[::2], values[1::2], strict=True):
        made[plain_key(key)] = value
    machine.stack.append(made)


@_step(b"\x91")
def _frozen_set(machine: Machine) -> None:
    machine.stack.append(Foreign("builtins.frozenset", items=machine.popped()))


def _short_tuples() -> None:
    def tuples(code: bytes, length: int) -> None:
        def step(machine: Machine) -> None:
            values = [machine.pop() for _ in range(length)]
            machine.stack.append(tuple(reversed(values)))

        _step(code)(step)

    for number, code in enumerate((b"\x85", b"\x86", b"\x87"), 1):
        tuples(code, number)


_short_tuples()


@_step(b"a")
def _append(machine: Machine) -> None:
    value = machine.pop()
    machine.add(machine.stack[-1], [value])


@_step(b"e")
@_step(b"\x90")
def _appends(machine: Machine) -> None:
    values = machine.popped()
    machine.add(machine.stack[-1], values)


@_step(b"s")
def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.put(machine.stack[-1], key, value)


@_step(b"u")
def _set_items(machine: Machine) -> None:
    values = machine.popped()
    for key, value in zip(values[::2], values[1::2], strict=True):
        machine.put(machine.stack[-1], key, value)


def _memo() -> None:
    def remembered(code: bytes, index: Callable[[Machine], int]) -> None:
        def step(machine: Machine) -> None:
            machine.memo[index(machine)] = machine.stack[-1]

        _step(code)(step)

    def recalled(code: bytes, index: Callable[[Machine], int]) -> None:
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
def _global(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.stack.append(Named(f"{module}.{name}"))


@_step(b"\x93")
def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("a name is no text")
    machine.stack.append(Named(f"{module}.{name}"))


@_step(b"R")
@_step(b"\x81")
def _reduce(machine: Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.call(function, arguments)


@_step(b"\x92")
def _new_with_names(machine: Machine) -> None:
    named, arguments, function = machine.pop(), machine.pop(), machine.pop()
    machine.call(function, (*arguments, named))


@_step(b"i")
def _instance(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.call(Named(f"{module}.{name}"), tuple(machine.popped()))


@_step(b"o")
def _object(machine: Machine) -> None:
    function, *arguments = machine.popped()
    machine.call(function, tuple(arguments))


@_step(b"b")
def _build(machine: Machine) -> None:
    state = machine.pop()
    machine.meanings.build(machine.stack[-1], state)


@_step(b"Q")
def _binary_persistent(machine: Machine) -> None:
    machine.stack.append(machine.meanings.persistent(machine.pop()))


@_step(b"P")
def _persistent(machine: Machine) -> None:
    machine.stack.append(machine.meanings.persistent(machine.line()))
