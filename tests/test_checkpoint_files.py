"""Files of weights in every format are read as they were written, damaged ones not at all."""

from __future__ import annotations

import collections
import io
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_formats import (
    Save,
    State,
    all_formats,
    assert_equal,
    drawn_state,
    refusal,
    save_legacy,
    save_zip,
    torch_formats,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from ensembles.checkpoints import check_sha256, file_sha256, read_state_dict
from ensembles.errors import CheckpointError


@pytest.fixture
def state(generator: torch.Generator) -> State:
    return drawn_state(generator)


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


@all_formats
def test_every_truncation_is_refused(save: Save, state: State, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole", tmp_path / "part"
    save(state, whole)
    content = whole.read_bytes()
    for length in {0, 1, 3, 8, 15, 40, *range(100, len(content), 97), len(content) - 1}:
        path.write_bytes(content[:length])
        assert refusal(path)


@settings(max_examples=80, deadline=None)
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


def test_reading_leaves_the_file_as_it_is(state: State, tmp_path: Path) -> None:
    archive, copy = tmp_path / "a.pt", tmp_path / "copy.pt"
    torch.save(state, archive)
    shutil.copy(archive, copy)
    read_state_dict(archive)
    assert archive.read_bytes() == copy.read_bytes()
