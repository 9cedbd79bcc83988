"""Pickles are read without running anything, in little memory and time."""

from __future__ import annotations

import hashlib
import os
import pickle
import resource
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_formats import (
    Save,
    State,
    assert_equal,
    drawn_state,
    pickled,
    refusal,
    save_legacy,
    save_safetensors,
    save_zip,
    torch_formats,
)
from torch import nn

from ensembles.checkpoints import open_weights, read_state_dict


@pytest.fixture
def state(generator: torch.Generator) -> State:
    return drawn_state(generator)


@pytest.fixture
def archive(state: State, tmp_path: Path) -> Path:
    save_zip(state, tmp_path / "a.pt")
    return tmp_path / "a.pt"


class Runs:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize(
    "write",
    [
        save_zip,
        save_legacy,
        *(
            lambda content, path, p=protocol: path.write_bytes(pickle.dumps(content, protocol=p))
            for protocol in range(6)
        ),
    ],
)
def test_a_pickle_with_code_is_refused_and_nothing_runs(write: Save, tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    write({"weight": Runs(mark)}, tmp_path / "a.pt")
    message = refusal(tmp_path / "a.pt")
    assert "is refused: it is a pickle that would run posix.system, and nothing was run" in message
    assert not mark.exists()


@torch_formats
def test_what_runs_beside_the_weights_is_refused_too(
    save: Save, state: State, tmp_path: Path
) -> None:
    save({"state_dict": state, "args": Runs(tmp_path / "it-ran")}, tmp_path / "a.pt")
    assert "would run posix.system, and nothing was run" in refusal(tmp_path / "a.pt")
    assert not (tmp_path / "it-ran").exists()


class Imports:
    """Names a function of a module that leaves a mark when it is imported."""

    def __reduce__(self) -> tuple[Any, ...]:
        return importable, ()


def importable() -> None:
    raise AssertionError("it was run")


@torch_formats
def test_other_objects_are_left_unread(save: Save, state: State, tmp_path: Path) -> None:
    save({"state_dict": state, "own": Imports(), "cls": importable}, tmp_path / "a.pt")
    found = open_weights(tmp_path / "a.pt")
    assert_equal(found.state_dict(), state)
    assert found.foreign == (f"{__name__}.importable",)


@torch_formats
def test_a_pickled_module_gives_its_state_dict(save: Save, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(4, 4)))
    model.register_buffer("kept", torch.ones(2))
    model.register_buffer("not kept", torch.ones(2), persistent=False)
    save(model, tmp_path / "a.pt")
    assert_equal(read_state_dict(tmp_path / "a.pt"), model.state_dict())


ALLOCATES = {
    "bytearray": b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R",
    "tensor": b"ctorch\nTensor\nJ\xff\xff\xff\x7f\x85\x81",
    "storage": b"ctorch\nFloatStorage\nJ\xff\xff\xff\x7f\x85R",
    "memo": b"]r\xff\xff\xff\x7f",
    "text": b"X\xff\xff\xff\x7fabc",
    "long text": b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc",
    "bytearray opcode": b"\x96\xff\xff\xff\xff\xff\xff\x00\x00abc",
    "getattr": b"cbuiltins\ngetattr\n.",
    "persistent": b"X\x07\x00\x00\x00storage\x85Q",
    "state": b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsNsb",
}


@pytest.mark.parametrize("name", ALLOCATES)
def test_a_hostile_pickle_is_refused_in_little_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickled(ALLOCATES[name]))
        archive.writestr("a/version", "3\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refusal(path)
    assert any(word in message for word in ("refused", "damaged", "has no state dict"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def nested_tuples() -> bytes:
    """A tuple of itself twice, sixty times over, as a key: its hash takes 2^60 steps."""
    parts = [b"}", b")"]
    for number in range(60):
        parts.append(b"q" + bytes([number]) + b"h" + bytes([number]) + b"\x86")
    return b"".join((*parts, b"K\x01s"))


ENDLESS = {
    "tuples as keys": nested_tuples(),
    "frozen sets as keys": b"}" + b"(" * 200 + b"\x91" * 200 + b"K\x01s",
    "a number as a key": b"}\x8b\x00\x00\x10\x00" + b"\x7f" * (1 << 20) + b"q\x00K\x01s"
    + b"h\x00K\x01s" * 20_000,
    "a decimal number": b"I" + b"9" * 1_000_000 + b"\n",
    "a text of a number": b"F" + b"9" * 2_000_000 + b"\n",
    "a list in itself": b"]q\x00h\x00a",
    "lists in lists": b"]" * 100_000 + b"a" * 99_999,
    "a dict of one dict": b"(}q\x00" + b"".join(
        b"}(X\x01\x00\x00\x00ah%cX\x01\x00\x00\x00bh%cuq%c" % (n, n, n + 1) for n in range(60)
    ) + b"l",
    "many steps": b"N0" * 1_600_000 + b"}",
}  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
def test_no_pickle_is_read_for_long_or_in_much_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickled(ENDLESS[name]))
        archive.writestr("a/version", "3\n")
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    message = refusal(path)
    assert any(word in message for word in ("refused", "damaged", "has no state dict"))
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.th"])
def test_what_is_read_are_the_bytes_that_were_hashed(
    name: str, state: State, tmp_path: Path
) -> None:
    path = tmp_path / name
    save = {"a.safetensors": save_safetensors, "a.pt": save_zip, "a.th": save_legacy}[name]
    save(state, path)
    whole = path.read_bytes()
    found = open_weights(path, hashlib.sha256(whole).hexdigest())
    with path.open("r+b") as file:  # overwritten, then cut: a map of the file would end the process
        file.write(bytes(len(whole)))
        file.truncate(0)
    assert_equal(found.state_dict(), state)
    assert found.sha256 == hashlib.sha256(whole).hexdigest()


def test_a_file_that_grows_while_it_is_read_is_refused(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = os.fstat

    def shorter(handle: int) -> os.stat_result:
        about = list(size(handle))
        about[6] -= 10
        return os.stat_result(about)

    monkeypatch.setattr("ensembles.checkpoints.files.os.fstat", shorter)
    assert "was written to while it was read" in refusal(archive)


def test_a_file_larger_than_memory_is_not_read(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensembles.checkpoints.files._memory", lambda: 1000)
    assert "bytes, and this machine 1,000 bytes of memory: read it on a larger" in refusal(archive)
