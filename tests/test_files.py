"""Files appear whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from ensembles.cards import card_name
from ensembles.errors import OutputError
from ensembles.files import atomic, refusals, remove_partial
from ensembles.models import create_model
from ensembles.tables import check_writable
from ensembles.weights import weights_of, write_weights


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_replaces_the_old_one_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.csv"
    for text in ("old", "new"):
        with atomic(path) as scratch:
            assert scratch.parent == path.parent
            scratch.write_text(text)
    assert contents(path.parent) == {"x.csv": "new"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("old")
    with pytest.raises(error), atomic(path) as scratch:
        scratch.write_text("half")
        raise error
    assert contents(tmp_path) == {"x.csv": "old"}


def test_a_trial_leaves_nothing(tmp_path: Path) -> None:
    with atomic(tmp_path / "x.csv", keep=False) as scratch:
        scratch.write_text("trial")
    assert contents(tmp_path) == {}


def test_what_is_written_reaches_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    flush, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("flush"), flush(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (done.append("move"), replace(a, b))[1])
    with atomic(tmp_path / "x.csv") as scratch:
        scratch.write_text("whole")
    assert done[:2] == ["flush", "move"]


def test_a_library_may_put_another_file_in_place_of_ours(tmp_path: Path) -> None:
    with atomic(tmp_path / "x") as scratch:
        (tmp_path / "other").write_text("theirs")
        (tmp_path / "other").replace(scratch)
    assert contents(tmp_path) == {"x": "theirs"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic(tmp_path / "link") as scratch:
        scratch.write_text("x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "x"


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "link")
    said = r"x: cannot be written \((Too many levels|it is no plain)"
    with pytest.raises(OutputError, match=said), refusals("x"), atomic(tmp_path / "link"):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs files that are none")
def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    device = tmp_path / "device"
    os.mkfifo(device)
    (tmp_path / "x.csv").symlink_to(device)
    with pytest.raises(OSError, match="it is no plain file"), atomic(tmp_path / "x.csv"):
        pass
    assert device.is_fifo()
    with pytest.raises(OutputError, match=r"^output .*x\.csv: is no plain file; name one$"):
        check_writable(tmp_path / "x.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["device", "x.csv"]


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    for name in (".x.csv.0123abcd.part", ".y.x.csv.0123abcd.part", ".x.csv.part", "x.csv"):
        (tmp_path / name).write_text("")
    remove_partial(tmp_path / "x.csv")
    assert sorted(contents(tmp_path)) == [".x.csv.part", ".y.x.csv.0123abcd.part", "x.csv"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(), "OSError"),
        (RuntimeError("unexpected pos 64 vs 0\nat x.cc"), "unexpected pos 64 vs 0"),
    ],
)
def test_a_refusal_is_one_line(error: Exception, reason: str) -> None:
    with pytest.raises(OutputError) as caught, refusals("output x.csv", RuntimeError):
        raise error
    assert str(caught.value) == (
        f"output x.csv: cannot be written ({reason}); choose another folder or free space"
    )


def test_errors_of_others_pass() -> None:
    with pytest.raises(RuntimeError, match="theirs"), refusals("output x.csv"):
        raise RuntimeError("theirs")


def test_weights_are_written_in_single_or_half_precision(tmp_path: Path) -> None:
    model = create_model("resnet20").double()
    state = weights_of(model, half=True)
    kinds = {value.dtype for value in state.values()}
    assert kinds == {torch.float16, torch.int64}
    size, sha256 = write_weights(weights_of(model), tmp_path / "x.safetensors")
    assert size == (tmp_path / "x.safetensors").stat().st_size > 4 * 269_722
    assert len(sha256) == 64
    assert model.get_parameter("conv1.weight").dtype == torch.float64
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_weights(state, tmp_path / "file" / "x.safetensors")


@pytest.mark.parametrize(
    ("text", "name"),
    [("a/b c", "a-b-c"), ("..", "file"), ("\u00e9", "file"), ("x" * 300, "x" * 100)],
)
def test_any_text_gives_a_name_for_a_card(text: str, name: str) -> None:
    assert card_name(text) == name
