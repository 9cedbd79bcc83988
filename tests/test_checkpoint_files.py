from __future__ import annotations

import collections
import hashlib
import io
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import tarfile
import textwrap
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from ensembles.checkpoints import check_sha256, file_sha256, open_weights, read_state_dict
from ensembles.errors import CheckpointError

State = dict[str, Tensor]
Save = Callable[[Any, Path], None]


def save_zip(content: Any, path: Path) -> None:
    torch.save(content, path)


def save_legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_safetensors(content: Any, path: Path) -> None:
    save_file({key: value.contiguous() for key, value in content.items()}, path)


torch_formats = pytest.mark.parametrize("save", [save_zip, save_legacy])
all_formats = pytest.mark.parametrize("save", [save_zip, save_legacy, save_safetensors])


@pytest.fixture
def state(generator: torch.Generator) -> State:
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "bn.running_var": torch.rand(4, generator=generator),
        "bn.num_batches_tracked": torch.tensor(7),
        "half": torch.randn(5, generator=generator).half(),
        "empty": torch.zeros(0, 3),
    }


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def assert_equal(found: State, expected: State) -> None:
    assert list(found) == list(expected) or set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


class Runs:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.path}'",)


# What is read ------------------------------------------------------------------------------------


@all_formats
def test_every_format_reads_back(save: Save, state: State, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    save(state, path)
    assert_equal(read_state_dict(path), state)


@torch_formats
@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", "odd"])
def test_a_wrapped_state_dict_is_found(save: Save, key: str, state: State, tmp_path: Path) -> None:
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    content = {"epoch": 3, key: collections.OrderedDict(state), "optimizer": optimizer}
    save(content, tmp_path / "a.pth")
    assert_equal(read_state_dict(tmp_path / "a.pth"), state)


@torch_formats
def test_a_training_checkpoint_with_tensors_beside_the_weights(
    save: Save, state: State, tmp_path: Path
) -> None:
    scheduler = {"milestones": collections.Counter([80, 120]), "done": {1, 2}}
    save(
        {"best": torch.tensor(0.9), "model": {"state_dict": state}, "s": scheduler}, tmp_path / "a"
    )
    assert_equal(read_state_dict(tmp_path / "a"), state)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_of_parallel_and_compiled_models_are_taken_off(
    prefix: str, state: State, tmp_path: Path
) -> None:
    torch.save({prefix + name: value for name, value in state.items()}, tmp_path / "a.pt")
    assert_equal(read_state_dict(tmp_path / "a.pt"), state)


@torch_formats
def test_a_real_model_with_parameters_and_shared_storage(save: Save, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4))
    whole = torch.arange(10.0)
    content = collections.OrderedDict(model.state_dict(keep_vars=True))
    content.update(first=whole[:4], second=whole[4:], turned=whole.view(2, 5).t())
    save(content, tmp_path / "a.pt")
    assert_equal(read_state_dict(tmp_path / "a.pt"), content)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).map("w.".__add__),
        st.tuples(
            st.lists(st.integers(0, 3), max_size=4),
            st.sampled_from(
                [torch.float32, torch.float64, torch.bfloat16, torch.int32, torch.bool]
            ),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([save_zip, save_legacy]),
)
def test_any_names_shapes_and_dtypes(
    tmp_path: Path, plan: dict[str, tuple[list[int], torch.dtype]], save: Save
) -> None:
    content = {name: torch.ones(shape).to(dtype) for name, (shape, dtype) in plan.items()}
    save(content, tmp_path / "a.pt")
    assert_equal(read_state_dict(tmp_path / "a.pt"), content)


def test_dtypes_that_have_no_storage_class(tmp_path: Path) -> None:
    content = {"weight": torch.arange(6).to(torch.uint16).view(2, 3), "c": torch.tensor([1j, 2])}
    torch.save(content, tmp_path / "a.pt")
    assert_equal(read_state_dict(tmp_path / "a.pt"), content)


@pytest.mark.assets
@pytest.mark.parametrize(
    ("depth", "sha256"), [(20, "12fca82f"), (32, "d509ac18"), (44, "014dd654")]
)
def test_public_files_read(assets: Path, depth: int, sha256: str) -> None:
    path = assets / "checkpoints" / f"resnet{depth}-{sha256}.th"
    check_sha256(path, sha256)
    found = read_state_dict(path)
    assert found["linear.weight"].shape == (10, 64)
    assert all(torch.isfinite(value).all() for value in found.values())


# Code --------------------------------------------------------------------------------------------


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


def pickled(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


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


# Archives ----------------------------------------------------------------------------------------


def rewrite(path: Path, change: Callable[[str, bytes], tuple[str, bytes]], **options: Any) -> None:
    """Write an archive anew with other names or contents."""
    with zipfile.ZipFile(path) as archive:
        entries = [change(entry, archive.read(entry)) for entry in archive.namelist()]
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in entries:
            archive.writestr(name, content)


@pytest.fixture
def archive(state: State, tmp_path: Path) -> Path:
    path = tmp_path / "a.pt"
    torch.save(state, path)
    return path


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


# Damage ------------------------------------------------------------------------------------------


@all_formats
def test_every_truncation_is_refused(save: Save, state: State, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole", tmp_path / "part"
    save(state, whole)
    content = whole.read_bytes()
    for length in {0, 1, 3, 8, 15, 40, *range(100, len(content), 97), len(content) - 1}:
        path.write_bytes(content[:length])
        assert refusal(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_flipped_bit_of_an_archive_is_refused_or_harmless(data: st.DataObject) -> None:
    state = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(3)}
    stream = io.BytesIO()
    torch.save(state, stream)
    content = bytearray(stream.getvalue())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path = Path(f"/dev/shm/ensembles-flip-{os.getpid()}.pt")
    path = path if path.parent.is_dir() else Path(os.environ.get("TMPDIR", "/tmp")) / path.name
    path.write_bytes(content)
    try:
        found = read_state_dict(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        assert_equal(found, state)
    finally:
        path.unlink()


def test_a_flipped_bit_in_the_weights_fails_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"weight": torch.full((100,), 1.25)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack("<f", 1.25)) + 40] ^= 1
    path.write_bytes(content)
    assert "is truncated or damaged: Bad CRC-32 for file" in refusal(path)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95"]))
def test_noise_is_refused(noise: bytes, start: bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"ensembles-noise-{os.getpid()}"
    path.write_bytes(start + noise)
    try:
        with pytest.raises(CheckpointError):
            read_state_dict(path)
    finally:
        path.unlink()


def test_what_is_no_file_of_weights(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<!doctype html><title>404</title>")
    assert "found one that starts with b'<!doctyp'" in refusal(tmp_path / "page.pth")
    (tmp_path / "empty").touch()
    assert "is empty" in refusal(tmp_path / "empty")
    assert "is no file" in refusal(tmp_path)
    assert "cannot be read: No such file" in refusal(tmp_path / "nowhere")


@torch_formats
@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([torch.ones(2)], "found a list"),
        (torch.ones(2), "found a Tensor"),
        ({"epoch": 1, "lr": 0.1}, "found the keys epoch, lr"),
        ({}, "found nothing"),
        ({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, "found the keys a, b"),
    ],
)
def test_a_file_without_a_state_dict(save: Save, content: Any, found: str, tmp_path: Path) -> None:
    save(content, tmp_path / "a.pt")
    assert refusal(tmp_path / "a.pt").endswith(found)


@torch_formats
def test_a_state_dict_with_other_things_in_it(save: Save, tmp_path: Path) -> None:
    save({"weight": torch.ones(2), "epoch": 4}, tmp_path / "a.pt")
    assert_equal(read_state_dict(tmp_path / "a.pt"), {"weight": torch.ones(2)})


def test_sha256_of_the_whole_or_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    whole = file_sha256(path)
    assert whole.startswith("ba7816bf")
    assert check_sha256(path, "ba7816bf") == check_sha256(path, whole) == whole
    with pytest.raises(CheckpointError, match="its sha256 starts with ba7816bf"):
        check_sha256(path, "ba7816be")


def test_reading_leaves_the_file_as_it_is(archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.pt"
    shutil.copy(archive, copy)
    read_state_dict(archive)
    assert archive.read_bytes() == copy.read_bytes()
