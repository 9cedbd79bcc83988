"""What the names in a pickle of weights mean: tensors, arrays and containers; all else is inert.

Tensors are described here, not made: their numbers lie elsewhere in the file, and a declared size
is held against what is there before anything is allocated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ensembles.errors import CheckpointError

from .inert import Foreign, Named, would_run
from .pickle_machine import Buffer, follow

__all__ = ["Array", "Block", "Contents", "Described", "read_pickle"]

_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
    "_Untyped": torch.uint8,
}
_STORAGE = re.compile(r"torch(?:\.cuda|\.storage)?\.(\w+?)(?:Storage)(?:Base)?")
_ARRAY_CODE = re.compile(r"[<>|=]?(b1|i[1248]|u[1248]|f[248]|c8|c16)")
_MOST_DIMENSIONS = 64


@dataclass(eq=False)
class Block:
    """Numbers that a pickle refers to, somewhere in the file.

    Attributes:
        key: Its name in the file.
        dtype: Kind of its numbers.
        count: How many the pickle declares.
        buffer: Bytes that hold them, once they are found.
        start: Place of the first byte in the buffer.
    """

    key: str
    dtype: torch.dtype
    count: int
    buffer: Buffer | None = None
    start: int = 0
    views: list[Block] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Declared bytes."""
        return self.count * self.dtype.itemsize

    def lay(self, buffer: Buffer, start: int) -> None:
        """Say where the bytes are, for the views of it too."""
        for view in self.views:
            view.buffer, view.start = buffer, view.start + start
        self.buffer, self.start = buffer, start

    def numbers(self, dtype: torch.dtype) -> Tensor:
        """The numbers, without a copy where their place allows it.

        Raises:
            CheckpointError: When no bytes are there.
        """
        count = self.size // dtype.itemsize
        if not count:
            return torch.empty(0, dtype=dtype)
        if self.buffer is None or self.start + self.size > len(self.buffer):
            raise CheckpointError(f"storage {self.key} is not in the file")
        if dtype == torch.bool:
            return self.numbers(torch.uint8) != 0
        buffer, start = self.buffer, self.start
        if start % dtype.itemsize:
            buffer, start = bytearray(memoryview(buffer)[start : start + self.size]), 0
        return torch.frombuffer(buffer, dtype=dtype, count=count, offset=start)


@dataclass(eq=False)
class Described:
    """A tensor as a pickle describes it: a view of a block."""

    block: Block
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return _product(self.shape)

    def tensor(self) -> Tensor:
        """Make it."""
        return self.block.numbers(self.dtype).as_strided(self.shape, self.stride, self.offset)


@dataclass(eq=False)
class Array:
    """A NumPy array as a pickle describes it."""

    shape: tuple[int, ...] = ()
    code: str = ""
    fortran: bool = False
    data: bytes = b""

    def tensor(self) -> Tensor | None:
        """Make it; nothing where its numbers are none that tensors hold."""
        if not _ARRAY_CODE.fullmatch(self.code):
            return None
        kind = np.dtype(self.code)
        _check_shape(self.shape)
        if len(self.data) != kind.itemsize * _product(self.shape):
            raise CheckpointError(
                f"an array declares the shape {self.shape}, and holds {len(self.data):,} bytes"
            )
        order: Any = "F" if self.fortran else "C"
        found = np.frombuffer(self.data, kind).reshape(self.shape, order=order)
        return torch.from_numpy(np.array(found, kind.newbyteorder("="), order="C"))


@dataclass(eq=False)
class _Kind:
    """A NumPy dtype."""

    code: str


Found: TypeAlias = "Described | Array"


class Contents:
    """The meanings of names in files of torch, and the blocks of numbers that they refer to.

    Args:
        saved: For files in the oldest format, what lies under each of its numbers.
        nested: Reads a file of torch that lies in a pickle as bytes.
    """

    def __init__(
        self,
        saved: Callable[[Any], Any] | None = None,
        nested: Callable[[bytes], Any] | None = None,
    ) -> None:
        self.blocks: dict[str, Block] = {}
        self._saved = saved
        self._nested = nested

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """What a call gives: a tensor or a container by its name, a stand-in otherwise."""
        if not isinstance(function, Named):
            return Foreign("a call of something that has no name", arguments)
        if would_run(function.name):
            raise CheckpointError(
                f"it is a pickle that would run {function.name}, and nothing was run; if you trust "
                "it, load it where it was made and save model.state_dict() alone"
            )
        if function.name == "torch.storage._load_from_bytes" and self._nested is not None:
            return self._nested(*arguments)
        made = _MADE.get(function.name)
        return Foreign(function.name, arguments) if made is None else made(*arguments)

    def build(self, made: Any, state: Any) -> None:
        """Keep a state beside what stands for an object; plain containers need none."""
        if isinstance(made, Named):
            self.call(made, ())
        elif isinstance(made, Array):
            _, shape, kind, made.fortran, data = state
            made.shape, made.code = tuple(shape), _code(kind)
            made.data = data.encode("latin1") if isinstance(data, str) else bytes(data)
        elif isinstance(made, _Kind):
            if state[1] in "<>":
                made.code = state[1] + made.code.lstrip("<>|=")
        elif isinstance(made, Foreign):
            made.state = state

    def persistent(self, identity: Any) -> Any:
        """The block of numbers under an identity.

        Raises:
            CheckpointError: When it is declared in two ways, or is none.
        """
        if self._saved is not None:
            return self._saved(identity)
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            return identity[1]
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise CheckpointError("it refers to something that is no storage of numbers")
        what, kind, key, _, count, *view = identity
        if what != "storage" or not isinstance(kind, Named) or not isinstance(key, str):
            raise CheckpointError("it refers to something that is no storage of numbers")
        if type(count) is not int or not 0 <= count < 1 << 62:
            raise CheckpointError(f"storage {key} declares {count!r} items")
        dtype = storage_dtype(kind.name)
        if dtype is None:
            return Foreign(kind.name)
        found = self.blocks.setdefault(key, Block(key, dtype, count))
        if (found.dtype, found.count) != (dtype, count):
            raise CheckpointError(f"storage {key} is declared in two ways")
        return _viewed(found, view[0]) if view and view[0] is not None else found


def read_pickle(data: Buffer, start: int, contents: Contents, origin: str) -> tuple[Any, int]:
    """Read one pickle of a file.

    Args:
        data: The file.
        start: Where the pickle starts.
        contents: What names in it mean.
        origin: What to call the file in an error.

    Returns:
        Its value, and the place behind it.

    Raises:
        CheckpointError: When it is damaged, would run code, or declares more than there is.
    """
    try:
        return follow(data, start, contents)
    except CheckpointError as error:
        raise CheckpointError(f"{origin} is refused: {error}") from error


def storage_dtype(name: str) -> torch.dtype | None:
    """The kind of numbers that a class of storage holds; nothing where it is unknown.

    >>> storage_dtype("torch.FloatStorage")
    torch.float32
    """
    found = _STORAGE.fullmatch(name)
    return _STORAGES.get(found[1]) if found else None


def _viewed(whole: Block, view: Any) -> Block:
    _, offset, length = view
    if not all(type(n) is int for n in (offset, length)):
        raise CheckpointError(f"a view of storage {whole.key} has no place")
    if not 0 <= offset <= offset + length <= whole.count:
        raise CheckpointError(f"a view of storage {whole.key} lies outside it")
    start = offset * whole.dtype.itemsize
    found = Block(whole.key, whole.dtype, length, start=start)
    whole.views.append(found)
    return found


def _product(shape: Iterable[int]) -> int:
    elements = 1
    for side in shape:
        elements *= side
    return elements


def _check_shape(*parts: Any) -> None:
    for part in parts:
        if not isinstance(part, tuple) or len(part) > _MOST_DIMENSIONS:
            raise CheckpointError(f"a tensor has {len(part)} dimensions")
        if not all(type(n) is int and 0 <= n < 1 << 62 for n in part):
            raise CheckpointError(f"a tensor declares the shape {parts[0]}")


def _tensor(block: Any, offset: int, shape: Any, stride: Any, *_: Any) -> Any:
    """A tensor of a storage, its shape held against it."""
    if not isinstance(block, Block):
        return Foreign("a tensor of " + getattr(block, "name", "an unknown storage"))
    return described(block, block.dtype, offset, shape, stride)


def _tensor_of_dtype(block: Any, offset: int, shape: Any, stride: Any, *rest: Any) -> Any:
    """A tensor whose dtype its storage does not say."""
    dtype = getattr(torch, rest[2].name.rpartition(".")[2], None)
    if not isinstance(block, Block) or not isinstance(dtype, torch.dtype):
        return Foreign("a tensor of an unknown kind of numbers")
    return described(block, dtype, offset, shape, stride)


def described(
    block: Block, dtype: torch.dtype, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> Described:
    """Describe a tensor.

    Raises:
        CheckpointError: When it reaches beyond its block, or repeats numbers to be larger.
    """
    _check_shape(shape, stride, (offset,))
    if len(shape) != len(stride):
        raise CheckpointError(f"a tensor declares the shape {shape} with the strides {stride}")
    elements, count = _product(shape), block.size // dtype.itemsize
    last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    if elements and (last >= count or elements > count):
        raise CheckpointError(
            f"a tensor declares the shape {'x'.join(map(str, shape))} ({elements:,} elements), "
            f"but storage {block.key} holds {count:,}"
        )
    return Described(block, dtype, offset, shape, stride)


def _ascii_bytes(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1", "ascii"):
        raise CheckpointError(f"it encodes text as {encoding!r}")
    return text.encode(encoding)


def _mapping(*arguments: Any) -> dict[Any, Any]:
    """A dict, from pairs where there are some."""
    pairs = arguments[0] if arguments and isinstance(arguments[0], (list, tuple)) else ()
    return {key: value for key, value in pairs if isinstance(key, str)}


def _typed(function: Any, _kind: Any, arguments: tuple[Any, ...], *_: Any) -> Any:
    """A tensor of a class of its own, or with attributes."""
    made = None if function.name.startswith("torch._tensor.") else _MADE.get(function.name)
    return Foreign(function.name, arguments) if made is None else made(*arguments)


def _sequence(items: Any = (), *_: Any) -> Any:
    return items


def _code(kind: Any) -> str:
    return kind.code if isinstance(kind, _Kind) else ""


def _flat_array(data: Any, kind: Any, shape: Any, order: Any = "C") -> Array:
    return Array(tuple(shape), _code(kind), order == "F", bytes(data))


def _first(value: Any, *_: Any) -> Any:
    return value


_ARRAYS = {
    f"numpy.{core}.{name}": made
    for core in ("core", "_core")
    for name, made in (
        ("multiarray._reconstruct", lambda *_: Array()),
        ("numeric._frombuffer", _flat_array),
    )
}
_MADE: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": lambda *_: {},
    "builtins.dict": _mapping,
    "__builtin__.dict": _mapping,
    "builtins.list": _sequence,
    "builtins.tuple": _sequence,
    "torch.Size": _sequence,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_numpy": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch._tensor._rebuild_from_type": _typed,
    "_codecs.encode": _ascii_bytes,
    "numpy.dtype": lambda code, *_: _Kind(code if isinstance(code, str) else ""),
    **_ARRAYS,
}
