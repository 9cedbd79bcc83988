"""The formats in which weights are written: archives of torch, its two older ones, safetensors."""

from __future__ import annotations

import io
import json
import mmap
import struct
import tarfile
import zipfile
from typing import Any

import torch
from torch import Tensor

from ensembles.errors import CheckpointError

from .inert import Foreign
from .pickle_contents import Block, Contents, described, read_pickle, storage_dtype
from .pickle_machine import Buffer

__all__ = ["Held", "contents_of"]

_ZIP_START = b"PK\x03\x04"
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PROTOCOL = 1001
_LARGEST_PICKLE = 64 << 20
_LARGEST_HEADER = 16 << 20
_MOST_ENTRIES = 1_000_000
_CHUNK = 1 << 20
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
}


class Held(mmap.mmap):
    """Bytes of a file, in memory of our own: what happens to the file does not reach them."""

    def seekable(self) -> bool:
        """Yes; older releases of Python do not say so."""
        return True

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: Any) -> None:
        """Tensors go on looking into it."""


def contents_of(held: Held, origin: str, *, safetensors: bool) -> Any:
    """Everything that a file of weights holds, with stand-ins for what is neither number nor text.

    Args:
        held: The bytes of the file.
        origin: What to call it in an error.
        safetensors: Whether its name says that it is one of safetensors.

    Raises:
        CheckpointError: When the file is damaged, would run code, declares more than it holds, or
            is no file of weights.
    """
    start = held[:16]
    if start.startswith(_ZIP_START):
        return _read_zip(held, origin)
    if start.startswith(_LEGACY_START):
        return _read_legacy(held, 0, origin)
    if safetensors or start[8:9] == b"{":
        return _read_safetensors(held, origin)
    if held[257:262] == b"ustar":
        return _read_tar(held, origin)
    return _read_bare(held, origin)


def _contents(origin: str) -> Contents:
    def nested(data: bytes) -> Any:
        if not data.startswith(_LEGACY_START):
            raise CheckpointError("a tensor in it is in a format of its own")
        return _read_legacy(bytearray(data), 0, origin, Contents())

    return Contents(nested=nested)


def _read_bare(held: Held, origin: str) -> Any:
    """A pickle alone, as plain ``pickle.dump`` writes it."""
    try:
        content, _ = read_pickle(held, 0, _contents(origin), origin)
    except CheckpointError as error:
        if "would run" in str(error):
            raise
        content = None
    if not isinstance(content, (dict, Foreign)):
        raise CheckpointError(
            f"{origin} is no file of weights: expected one of torch.save or safetensors, found one "
            f"that starts with {held[:8]!r}"
        )
    return content


def _read_legacy(held: Buffer, place: int, origin: str, contents: Contents | None = None) -> Any:
    """A file of torch before 1.6: pickles one behind the other, then the numbers."""
    contents = _contents(origin) if contents is None else contents
    protocol, place = read_pickle(held, place + len(_LEGACY_START), Contents(), origin)
    if protocol != _LEGACY_PROTOCOL:
        raise CheckpointError(f"{origin} is damaged: protocol {protocol!r}, expected 1001")
    system, place = read_pickle(held, place, Contents(), origin)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise CheckpointError(f"{origin} was written by a big-endian machine: write it anew here")
    content, place = read_pickle(held, place, contents, origin)
    keys, place = read_pickle(held, place, Contents(), origin)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(contents.blocks):
        raise CheckpointError(f"{origin} is damaged: its storages are not those that it lists")
    for key in keys:
        block = contents.blocks[key]
        end = place + 8 + block.size
        if end > len(held):
            raise CheckpointError(
                f"{origin} is truncated: storage {key} declares {block.size:,} bytes, "
                f"the file ends {end - len(held):,} bytes before its end"
            )
        if struct.unpack_from("<q", held, place)[0] != block.count:
            raise CheckpointError(f"{origin} is damaged: storage {key} has two sizes")
        block.lay(held, place + 8)
        place = end
    return content


def _read_zip(held: Held, origin: str) -> Any:
    """An archive of torch; refused where it is damaged, or would take more memory than its size."""
    try:
        source: Any = held  # a file to zipfile, whatever its stubs say
        with zipfile.ZipFile(source) as archive:
            root = _check_entries(archive, len(held), origin)
            _check_contents(archive)
            pickled = archive.read(f"{root}/data.pkl")
            order = archive.read(f"{root}/byteorder") if _has(archive, f"{root}/byteorder") else b""
            entries = {entry.filename: entry for entry in archive.infolist()}
    except CheckpointError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{origin} is truncated or damaged: {reason}") from error
    if order.strip() == b"big":
        raise CheckpointError(f"{origin} was written by a big-endian machine: write it anew here")
    contents = _contents(origin)
    content, _ = read_pickle(pickled, 0, contents, origin)
    for block in contents.blocks.values():
        entry = entries.get(f"{root}/data/{block.key}")
        size = 0 if entry is None else entry.file_size
        if size != block.size:
            raise CheckpointError(
                f"{origin} is damaged: storage {block.key} declares {block.size:,} bytes, the "
                f"archive holds {size:,}"
            )
        if entry is not None:
            names = struct.unpack_from("<HH", held, entry.header_offset + 26)
            block.lay(held, entry.header_offset + 30 + sum(names))
    return content


def _has(archive: zipfile.ZipFile, name: str) -> bool:
    return name in archive.NameToInfo


def _check_entries(archive: zipfile.ZipFile, size: int, origin: str) -> str:
    """Look at the list of entries alone; the name of the folder that holds them all."""
    names = [entry.filename for entry in archive.infolist()]
    if len(names) > _MOST_ENTRIES:
        raise CheckpointError(f"{origin} is refused: it has more than {_MOST_ENTRIES:,} entries")
    for name in names:
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise CheckpointError(
                f"{origin} is refused: its entry {name!r} leads out of the archive"
            )
    root = names[0].partition("/")[0] if names else ""
    if f"{root}/data.pkl" not in names:
        raise CheckpointError(
            f"{origin} is a zip archive of other things: expected one of torch.save, with a "
            "data.pkl"
        )
    if f"{root}/constants.pkl" in names:
        raise CheckpointError(
            f"{origin} is a TorchScript archive, which holds code: load it where it was made and "
            "save its state_dict()"
        )
    if len({name.lower() for name in names}) != len(names):
        raise CheckpointError(f"{origin} is refused: two of its entries have one name")
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise CheckpointError(
                f"{origin} is refused: its entry {entry.filename!r} unpacks from "
                f"{entry.compress_size:,} to {entry.file_size:,} bytes, and torch.save never "
                "compresses"
            )
    if sum(entry.file_size for entry in archive.infolist()) > size:
        raise CheckpointError(f"{origin} is refused: its entries are larger than the file")
    if archive.getinfo(f"{root}/data.pkl").file_size > _LARGEST_PICKLE:
        raise CheckpointError(f"{origin} is refused: its pickle is over {_LARGEST_PICKLE:,} bytes")
    return root


def _check_contents(archive: zipfile.ZipFile) -> None:
    """Read every entry once, in pieces, so that ``zipfile`` compares the checksums."""
    for entry in archive.infolist():
        with archive.open(entry) as stream:
            while stream.read(_CHUNK):
                pass


def _read_safetensors(held: Held, origin: str) -> dict[str, Tensor]:
    try:
        return _safetensors(held)
    except CheckpointError as error:
        raise CheckpointError(f"{origin} is truncated or damaged: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, struct.error, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{origin} is truncated or damaged: its header ({reason})") from error


def _safetensors(held: Held) -> dict[str, Tensor]:
    length = int(struct.unpack_from("<Q", held)[0])
    first = 8 + length
    if first > len(held) or length > _LARGEST_HEADER:
        raise CheckpointError(f"its header declares {length:,} bytes of {len(held):,}")
    header = json.loads(held[8:first].decode("utf-8"))
    header.pop("__metadata__", None)
    found, parts = {}, []
    for name, about in header.items():
        dtype = _DTYPES.get(about["dtype"])
        if dtype is None:
            raise CheckpointError(f"tensor {name!r} has the unknown dtype {about['dtype']!r}")
        begin, end = about["data_offsets"]
        shape = tuple(about["shape"])
        if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
            raise CheckpointError(f"tensor {name!r} has the shape {shape}")
        if first + end > len(held) or begin > end or (end - begin) % dtype.itemsize:
            raise CheckpointError(f"tensor {name!r} lies at {begin:,} to {end:,}, outside the file")
        block = Block(name, dtype, (end - begin) // dtype.itemsize, held, first + begin)
        found[name] = described(block, dtype, 0, shape, _strides(shape))
        if block.count != found[name].elements:
            raise CheckpointError(f"tensor {name!r} holds {block.count:,} numbers")
        parts.append((begin, end))
    place = 0
    for begin, end in sorted(parts):
        if begin != place:
            raise CheckpointError(f"its tensors leave a gap or overlap at byte {place:,}")
        place = end
    if first + place != len(held):
        raise CheckpointError(f"it has {len(held):,} bytes, expected {first + place:,}")
    return {name: one.tensor() for name, one in found.items()}


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for side in reversed(shape):
        strides.append(step)
        step *= max(side, 1)
    return tuple(reversed(strides))


def _read_tar(held: Held, origin: str) -> Any:
    """A file of torch before 0.1.10: a tar with storages, tensors and a pickle that names them."""
    try:
        with tarfile.open(fileobj=io.BytesIO(held), mode="r:") as archive:
            parts = {}
            for name in ("storages", "tensors", "pickle"):
                part = archive.extractfile(name)
                if part is None:
                    raise KeyError(f"{name} is no file")
                parts[name] = bytearray(part.read())
        blocks = _tar_storages(parts["storages"], origin)
        tensors = _tar_tensors(parts["tensors"], blocks, origin)
    except CheckpointError:
        raise
    except (tarfile.TarError, OSError, LookupError, TypeError, ValueError, struct.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{origin} is a damaged or other tar archive: {reason}") from error

    def saved(identity: Any) -> Any:
        if isinstance(identity, tuple):
            return identity[0]
        key = int(identity)
        return tensors[key] if key in tensors else blocks[key]

    return read_pickle(parts["pickle"], 0, Contents(saved), origin)[0]


def _tar_storages(data: bytearray, origin: str) -> dict[int, Block]:
    count, place = read_pickle(data, 0, Contents(), origin)
    blocks: dict[int, Block] = {}
    for _ in range(int(count)):
        (key, _location, kind), place = read_pickle(data, place, Contents(), origin)
        (length,) = struct.unpack_from("<q", data, place)
        dtype = storage_dtype(kind.name)
        if dtype is None or not 0 <= length <= len(data):
            raise CheckpointError(f"{origin} is damaged: storage {key} declares {length:,} items")
        blocks[int(key)] = Block(str(key), dtype, length, data, place + 8)
        place += 8 + length * dtype.itemsize
    views, _ = read_pickle(data, place, Contents(), origin)
    for key, root, offset, length in views:
        whole = blocks[int(root)]
        start = whole.start + offset * whole.dtype.itemsize
        if not 0 <= offset <= offset + length <= whole.count:
            raise CheckpointError(f"{origin} is damaged: a view lies outside its storage")
        blocks[int(key)] = Block(str(key), whole.dtype, length, data, start)
    return blocks


def _tar_tensors(data: bytearray, blocks: dict[int, Block], origin: str) -> dict[int, Any]:
    count, place = read_pickle(data, 0, Contents(), origin)
    tensors: dict[int, Any] = {}
    for _ in range(int(count)):
        (key, storage, _kind), place = read_pickle(data, place, Contents(), origin)
        (dimensions,) = struct.unpack_from("<i", data, place)
        if not 0 <= dimensions <= 64:
            raise CheckpointError(f"{origin} is damaged: a tensor has {dimensions} dimensions")
        numbers = struct.unpack_from(f"<{2 * dimensions + 1}q", data, place + 8)
        place += 8 + 8 * len(numbers)
        shape, stride = numbers[:dimensions], numbers[dimensions:-1]
        block = blocks[int(storage)]
        tensors[int(key)] = described(block, block.dtype, numbers[-1], shape, stride)
    return tensors
