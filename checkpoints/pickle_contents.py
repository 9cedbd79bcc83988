"""What a pickle of tensors says it holds, found out without running or allocating any of it.

``torch.load(weights_only=True)`` runs no code, but it allocates whatever sizes a file declares, and
older releases believe a declared size that its storage does not have. So a pickle is read here
first with stand-ins for everything that it names.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ensembles.errors import CheckpointError

__all__ = ["Storage", "read_plain", "storages_of"]

# What weights need of the pickle machine: the opcodes that torch's own unpickler of weights takes.
_OPCODES = frozenset(
    (
        *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINSTRING", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_SET"),
    )
)
_MOST_OPCODES = 3_000_000

_ITEM_SIZES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
    "UntypedStorage": 1,
}
_DTYPE_SIZES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}


class Source(Protocol):
    """Something to read a pickle from: a file, a memory map, a ``BytesIO``."""

    def read(self, size: int = ..., /) -> bytes:
        """Read bytes."""

    def readline(self) -> bytes:
        """Read a line."""

    def seek(self, offset: int, /) -> Any:
        """Go to a place."""

    def tell(self) -> int:
        """Name the place."""


@dataclass(frozen=True)
class Storage:
    """A block of numbers that a pickle refers to.

    Attributes:
        key: Its name in the file.
        count: Items that the pickle declares.
        item_size: Bytes of an item.
    """

    key: str
    count: int
    item_size: int

    @property
    def size(self) -> int:
        """Declared bytes."""
        return self.count * self.item_size


@dataclass
class _ItemSize:
    """Stand-in for a storage class or a dtype."""

    size: int


class _State(OrderedDict[Any, Any]):
    """An ordered dict whose pickled attributes may only be those of a state dict."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        if set(state) - {"_metadata"}:
            raise CheckpointError("it sets attributes that a state dict does not have")


def storages_of(source: Source, origin: str) -> dict[str, Storage]:
    """List the storages that one pickle refers to, and hold its tensors against them.

    Args:
        source: Stands at the start of the pickle; stands behind it afterwards.
        origin: What to call the file in an error.

    Returns:
        Every storage by its key.

    Raises:
        CheckpointError: When the pickle names anything but tensors and plain containers, is
            damaged, or declares a tensor larger than its storage.
    """
    reader = _read(source, origin)
    return reader.storages


def read_plain(source: Source, origin: str) -> Any:
    """Read a pickle of plain values: numbers, text, lists, tuples, dicts.

    Args:
        source: Stands at the start of the pickle; stands behind it afterwards.
        origin: What to call the file in an error.

    Raises:
        CheckpointError: When it is damaged or holds anything else.
    """
    return _read(source, origin).value


def _read(source: Source, origin: str) -> _Reader:
    start = source.tell()
    try:
        _screen(source)
        end = source.tell()
        source.seek(start)
        text = source.read(end - start)
        reader = _Reader(io.BytesIO(text), encoding="latin1")
        reader.value = reader.load()
    except CheckpointError as error:
        raise CheckpointError(f"{origin} is refused: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(
            f"{origin} is damaged: its pickle cannot be read ({reason})"
        ) from error
    return reader


def _screen(source: Source) -> None:
    """Refuse what weights do not need, before any of it runs.

    All opcodes are looked at even after a wrong one, so that the error can name what would run.
    """
    largest_memo = count = 0
    foreign = ""
    texts = ("", "")
    for count, (opcode, argument, _) in enumerate(pickletools.genops(source), 1):  # type: ignore[arg-type]
        if opcode.name not in _OPCODES:
            foreign = foreign or opcode.name
        if opcode.name in ("GLOBAL", "INST"):
            _stand_in(*str(argument).split(" ", 1))
        elif opcode.name == "STACK_GLOBAL":
            _stand_in(*texts)
        elif opcode.name.endswith("BINPUT"):
            largest_memo = max(largest_memo, int(argument or 0))
        elif "UNICODE" in opcode.name:
            texts = (texts[1], str(argument))
        if count > _MOST_OPCODES:
            raise CheckpointError(f"its pickle has more than {_MOST_OPCODES:,} steps")
    if foreign:
        raise CheckpointError(f"its pickle uses {foreign}, which files of torch.save do not")
    if largest_memo > count:
        raise CheckpointError(f"its pickle numbers {largest_memo:,} objects in {count:,} steps")


class _Reader(pickle.Unpickler):
    """Reads a pickle with stand-ins, and notes its storages."""

    def __init__(self, source: io.BytesIO, *, encoding: str) -> None:
        super().__init__(source, encoding=encoding)
        self.storages: dict[str, Storage] = {}
        self.value: Any = None

    def find_class(self, module: str, name: str, /) -> Any:
        return _stand_in(module, name)

    def persistent_load(self, pid: Any, /) -> Storage:
        what, item, key, _location, count, *view = pid
        whole = isinstance(count, int) and not isinstance(count, bool) and count >= 0
        if what != "storage" or not isinstance(item, _ItemSize) or not isinstance(key, str):
            raise CheckpointError("it refers to something that is no storage of numbers")
        if not whole:
            raise CheckpointError(f"storage {key} declares {count!r} items")
        found = Storage(key, count, item.size)
        if self.storages.setdefault(key, found) != found:
            raise CheckpointError(f"storage {key} is declared in two ways")
        if view and view[0] is not None:
            _, offset, length = view[0]
            if not 0 <= offset <= offset + length <= count:
                raise CheckpointError(f"a view of storage {key} lies outside it")
            return Storage(key, length, item.size)
        return found


def _tensor(
    storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> None:
    """Stand-in for torch's functions that rebuild a tensor: hold its shape against its storage."""
    numbers = (offset, *shape, *stride)
    if not all(isinstance(n, int) and n >= 0 for n in numbers) or len(shape) != len(stride):
        raise CheckpointError(f"a tensor declares the shape {shape} with the strides {stride}")
    elements = 1
    for side in shape:
        elements *= side
    last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    if elements and (last >= storage.count or elements > storage.count):
        named = "x".join(map(str, shape))
        raise CheckpointError(
            f"a tensor declares the shape {named} ({elements:,} elements), "
            f"but storage {storage.key} holds {storage.count:,}"
        )


def _tensor_of_dtype(storage: Storage, *rest: Any) -> None:
    """Stand-in for the rebuilding of a tensor whose dtype its storage does not say."""
    dtype = rest[5]
    count = storage.size // dtype.size
    _tensor(Storage(storage.key, count, dtype.size), *rest[:3])


def _ascii_bytes(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1", "ascii"):
        raise CheckpointError(f"it encodes text as {encoding!r}")
    return text.encode(encoding)


def _nothing(*_: Any) -> None:
    """Stand-in for what says nothing about the weights."""


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _State,
    "collections.Counter": _nothing,
    "builtins.set": _nothing,
    "__builtin__.set": _nothing,
    "torch.Size": _nothing,
    "torch.device": _nothing,
    "torch.serialization._get_layout": _nothing,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _nothing,
    "torch._utils._rebuild_parameter_with_state": _nothing,
    "_codecs.encode": _ascii_bytes,
}
_STAND_INS: dict[str, Any] = {
    **_FUNCTIONS,
    **{f"torch.{name}": _ItemSize(size) for name, size in _ITEM_SIZES.items()},
    **{f"torch.storage.{name}": _ItemSize(size) for name, size in _ITEM_SIZES.items()},
    **{f"torch.{name}": _ItemSize(size) for name, size in _DTYPE_SIZES.items()},
}


def _stand_in(module: str, name: str) -> Any:
    full = f"{module}.{name}"
    if full not in _STAND_INS:
        raise CheckpointError(
            f"it is a pickle that would run {full}, and nothing was run; if you trust it, load it "
            "where it was made and save model.state_dict() alone"
        )
    return _STAND_INS[full]
