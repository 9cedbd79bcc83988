"""Archives of weights: names, sizes and bytes that are not what they are declared to be."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_formats import (
    State,
    assert_equal,
    drawn_state,
    pickled,
    refusal,
    save_legacy,
    save_zip,
)

from ensembles.checkpoints import read_state_dict


@pytest.fixture
def state(generator: torch.Generator) -> State:
    return drawn_state(generator)


def rewrite(path: Path, change: Callable[[str, bytes], tuple[str, bytes]], **options: Any) -> None:
    """Write an archive anew with other names or contents."""
    with zipfile.ZipFile(path) as archive:
        entries = [change(entry, archive.read(entry)) for entry in archive.namelist()]
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in entries:
            archive.writestr(name, content)


@pytest.fixture
def archive(state: State, tmp_path: Path) -> Path:
    save_zip(state, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_a_rewritten_archive_still_reads(archive: Path, state: State) -> None:
    rewrite(archive, lambda name, content: (name, content))
    assert_equal(read_state_dict(archive), state)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil"])
def test_names_that_lead_out_are_refused(archive: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(name, "x")
    assert "leads out of the archive" in refusal(archive)


def test_a_compressed_entry_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    script = """
        import resource, sys, zipfile
        from pathlib import Path
        from ensembles.checkpoints import read_state_dict
        from ensembles.errors import CheckpointError
        path = Path(sys.argv[1])
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("a/data.pkl", b"]")
            with archive.open("a/data/0", "w") as entry:
                for _ in range(64):
                    entry.write(bytes(1 << 20))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read_state_dict(path)
        except CheckpointError as error:
            print(error)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path / "a.pt"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "refused: its entry 'a/data.pkl' unpacks from" in done.stdout
    assert "torch.save never compresses" in done.stdout


def test_only_the_large_entry_compressed_is_refused_too(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("a/data/99", bytes(1 << 20), zipfile.ZIP_DEFLATED)
    assert "'a/data/99' unpacks from" in refusal(archive)
    assert "to 1,048,576 bytes" in refusal(archive)


def test_two_entries_of_one_name_are_refused(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("A/DATA.PKL", "x")
    assert "two of its entries have one name" in refusal(archive)


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """Many entries over the same bytes, each as large as the file (D. Fifield, 2019)."""
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("a/data.pkl", pickled(b"}"))
        opened.writestr("a/data/0", bytes(100_000))
        first = opened.getinfo("a/data/0")
        for number in range(1, 50):
            twin = zipfile.ZipInfo(f"a/data/{number}")
            for field in ("CRC", "compress_size", "file_size", "header_offset"):
                setattr(twin, field, getattr(first, field))
            opened.filelist.append(twin)
            opened.NameToInfo[twin.filename] = twin
    assert "its entries are larger than the file" in refusal(path)


def test_other_archives_are_told_apart(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as opened:
        opened.writestr("readme.txt", "hello")
    assert "a zip archive of other things" in refusal(tmp_path / "other.zip")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as opened:
        opened.writestr("script/data.pkl", pickled(b"}"))
        opened.writestr("script/constants.pkl", pickled(b")"))
    assert "is a TorchScript archive, which holds code" in refusal(tmp_path / "script.pt")


def declare(shape: tuple[int, ...], stride: tuple[int, ...], items: int) -> Callable[..., Any]:
    """Change the pickle of an archive to declare one tensor of a storage of eight bytes."""

    class Place:
        pass

    class Declared:
        def __reduce__(self) -> tuple[Any, ...]:
            arguments = (Place(), 0, shape, stride, False, collections.OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments  # type: ignore[attr-defined]

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            stored = ("storage", torch.FloatStorage, "0", "cpu", items)
            return stored if isinstance(obj, Place) else None

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump({"weight": Declared()})

    def change(name: str, content: bytes) -> tuple[str, bytes]:
        return name, stream.getvalue() if name.endswith("data.pkl") else content

    return change


@pytest.mark.parametrize(
    ("shape", "stride", "items", "reason"),
    [
        ((10**12,), (1,), 2, "shape 1000000000000 (1,000,000,000,000 elements), but storage 0"),
        ((10**12,), (0,), 2, "1,000,000,000,000 elements"),
        ((10**6, 10**6), (10**6, 1), 2, "shape 1000000x1000000"),
        ((2,), (5,), 2, "but storage 0 holds 2"),
        ((-1,), (1,), 2, "declares the shape (-1,)"),
        ((10**12,), (1,), 10**12, "declares 4,000,000,000,000 bytes, the archive holds 8"),
    ],
)
def test_a_tensor_larger_than_its_storage_is_refused(
    tmp_path: Path, shape: tuple[int, ...], stride: tuple[int, ...], items: int, reason: str
) -> None:
    path = tmp_path / "a.pt"
    torch.save({"weight": torch.zeros(2)}, path)
    rewrite(path, declare(shape, stride, items))
    assert reason in refusal(path)


def test_a_safetensors_file_that_declares_much_is_refused(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert "is truncated or damaged" in refusal(path)
    path.write_bytes(struct.pack("<Q", 1 << 60) + header + bytes(8))
    assert "is truncated or damaged" in refusal(path)


def test_a_legacy_file_that_declares_much_is_refused(state: State, tmp_path: Path) -> None:
    path = tmp_path / "a.th"
    save_legacy({"weight": torch.zeros(1000)}, path)
    content = path.read_bytes()
    declared, larger = b"M\xe8\x03", b"J\xff\xff\xff\x7f"
    assert content.count(declared) == 2
    path.write_bytes(content.replace(declared, larger))
    assert "is truncated: storage" in refusal(path)


def test_a_tar_in_disguise_is_not_unpacked(tmp_path: Path) -> None:
    save_legacy({"weight": torch.zeros(2)}, tmp_path / "a.th")
    start = (tmp_path / "a.th").read_bytes()[:15].decode("latin1")
    with tarfile.open(
        tmp_path / "b.th", "w", encoding="latin1", format=tarfile.GNU_FORMAT
    ) as opened:
        opened.addfile(tarfile.TarInfo(start))
        opened.addfile(tarfile.TarInfo("storages"))
    assert "damaged" in refusal(tmp_path / "b.th")
