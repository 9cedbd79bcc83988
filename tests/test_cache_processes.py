"""Caches that two processes need at once: filled once, whole, and free when the filler dies."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stores import files, in_a_process, status_of

from ensembles.data import dataset, folders

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks, and kills")
IMAGES = 12


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images that no cache holds yet."""
    monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    for number in range(IMAGES):
        path = tmp_path / "set" / "test" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return tmp_path


def filler(place: Path, name: str, seconds: float = 0.0) -> Callable[[], None]:
    """What a process does: decode slowly, tell of each start, and of what it found."""

    def work() -> None:
        real = folders._decoded

        def slowly(*arguments: object) -> object:
            with (place / "decoded").open("a") as file:
                file.write(f"{name}\n")
            time.sleep(seconds)
            return real(*arguments)  # type: ignore[arg-type]

        folders._decoded = slowly  # type: ignore[assignment]
        data = dataset(place / "set", "test", normalize="none")
        pixels = data.raw()[0].numpy().tobytes()
        (place / name).write_text(f"{data.content_hash} {hashlib.sha256(pixels).hexdigest()}")

    return work


def decoding(place: Path) -> list[str]:
    told = place / "decoded"
    return told.read_text().split() if told.exists() else []


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_two_processes_fill_it_once_and_read_the_same(place: Path) -> None:
    first = in_a_process(filler(place, "first", 0.6))
    until(lambda: decoding(place))
    second = in_a_process(filler(place, "second"))
    assert status_of(first) == 0 and status_of(second) == 0
    assert decoding(place) == ["first"]
    assert (place / "first").read_text() == (place / "second").read_text()
    [entry] = files(place / "cache")
    assert entry.endswith(".safetensors")
    third = in_a_process(filler(place, "third"))
    assert status_of(third) == 0 and decoding(place) == ["first"]
    assert (place / "third").read_text() == (place / "first").read_text()


def test_one_that_is_killed_while_it_fills_blocks_no_other(place: Path) -> None:
    first = in_a_process(filler(place, "first", 60))
    until(lambda: decoding(place))
    second = in_a_process(filler(place, "second"))
    time.sleep(0.5)
    assert decoding(place) == ["first"] and not (place / "second").exists()  # it waits
    os.kill(first, signal.SIGKILL)
    began = time.monotonic()
    assert status_of(first) == -signal.SIGKILL and status_of(second) == 0
    assert time.monotonic() - began < 20
    assert decoding(place) == ["first", "second"]
    assert len(files(place / "cache")) == 1
    data = dataset(place / "set", "test", normalize="none")
    assert (place / "second").read_text().startswith(data.content_hash)
