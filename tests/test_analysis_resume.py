"""Analyses kept as one table: an interrupted run goes on, reference data are part of the key."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from networks import build, images_for
from PIL import Image

import ensembles
from ensembles.analyses import followed_paths, needed, row_reader
from ensembles.analyses.members.criticality import CriticalityOptions
from ensembles.store import Store
from ensembles.store.parts import PART, Parts

LONG: dict[str, dict[str, Any]] = {
    "refinement": {},
    "diversity": {"members": 3},
    "spectra": {"images": 3, "scales": "0.5"},
    "coupling": {"top": 2},
}


def parts_of(path: Path) -> list[str]:
    with Store(path, mode="r") as store:
        return [name.split()[2] for name, _ in store.notes() if name.startswith(PART)]


class EndedError(Exception):
    """The end of a process, as far as a store can tell."""


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("calls", [2, 5])
def test_an_interrupted_run_goes_on_where_it_ended(
    name: str, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_reader, "_SECONDS", 0.0)
    monkeypatch.setattr(followed_paths, "_AT_ONCE", 1)
    model = build([("attention", 6, 1)] * 2, seed=3)
    images, labels = images_for(model, 12)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    reference = {"reference": [images_for(model, 24, seed=5)]} if name == "refinement" else {}
    given: dict[str, Any] = {**LONG[name], **reference, "batch_size": 2}
    whole: list[int] = []
    expected = ensembles.analyze(
        net, data, name, store=tmp_path / "whole.db",
        progress=lambda done, _: whole.append(done), **given,
    )  # fmt: skip
    assert parts_of(tmp_path / "whole.db") == []

    told: list[int] = []

    def until(done: int, _whole: int) -> None:
        told.append(done)
        if len(told) == calls:
            raise EndedError

    store = tmp_path / "kept.db"
    with pytest.raises(EndedError):
        ensembles.analyze(net, data, name, store=store, progress=until, **given)
    kept = parts_of(store)
    assert kept

    again: list[int] = []
    frame = ensembles.analyze(
        net, data, name, store=store, progress=lambda done, _: again.append(done), **given
    )
    assert parts_of(store) == []
    assert len(again) <= len(whole) - (calls - 1)  # what was told last was not kept yet
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)
    ours, theirs = ({k: v for k, v in one.attrs.items() if k not in ("store", "provenance")}
                    for one in (frame, expected))  # fmt: skip
    assert ours == theirs


def test_parts_are_arrays_again_and_gone_when_they_are_dropped(tmp_path: Path) -> None:
    arrays = {
        "numbers": np.linspace(-1, 1, 6).reshape(2, 3),
        "small": np.float32([[0.1], [np.nan]]),
        "places": np.arange(4),
        "reason": np.frombuffer(b"why", np.uint8),
        "none": np.zeros((0, 2)),
        "one": np.array(7),
    }
    context = CONTEXT
    with Store(tmp_path / "kept.db") as store:
        parts = Parts(store, context, "spectra", {"images": 4})
        other = Parts(store, context, "spectra", {"images": 5})
        parts.keep("a", arrays)
        other.keep("a", {"numbers": np.ones(1)})
        store.keep_note("mine", 1)
        found = parts.read("a")
        assert found is not None and found.keys() == arrays.keys()
        for label, one in arrays.items():
            assert found[label].dtype == one.dtype and found[label].shape == one.shape
            np.testing.assert_array_equal(found[label], one)
        assert parts.read("b") is None
        parts.forget()
        assert parts.read("a") is None and other.read("a") is not None
        assert store.note("mine") == 1
        with Store(tmp_path / "merged.db") as merged:
            merged.merge(store.path)
            assert [name for name, _ in merged.notes()] == ["mine"]


CONTEXT: Any = SimpleNamespace(key=SimpleNamespace(digest="0" * 64))


@pytest.mark.parametrize(
    "value",
    [
        1,
        {"a": ["<f8", [2], "AAAA"]},
        {"a": ["|O", [1], "AAAA"]},
        {"a": ["<f8", [1 << 40], "eJwDAAAAAAE="]},
        {"a": ["<f8", [-1], "eJwDAAAAAAE="]},
        {"a": ["<f8", 3]},
        {"a": ["<f8", [1], "no base 64"]},
        {"a": ["<f8", [1], "eJwDAAAAAAE="]},
    ],
)
def test_a_part_that_the_program_did_not_write_is_measured_anew(
    value: object, tmp_path: Path
) -> None:
    context = CONTEXT
    with Store(tmp_path / "kept.db") as store:
        parts = Parts(store, context, "spectra", {})
        parts.keep("a", {"a": np.ones(1)})
        [(name, _)] = store.notes()
        store.keep_note(name, value)
        assert parts.read("a") is None


# Reference data that nobody gave


def folder_of(path: Path, model: Any, seed: int) -> Path:
    """Images of five classes as a folder, whose training images alone depend on a seed."""
    for split, count, drawn in (("test", 20, 1), ("train", 24, seed)):
        draw = np.random.default_rng(drawn)
        for number in range(count):
            file = path / split / f"class{number % 5}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("refinement", {"train": 20}),
        ("recalibration", {"batches": 1, "size": 8}),
        ("criticality", {"trials": 1, "recalibrated": 1}),
        ("criticality", {"trials": 1}),
    ],
)
def test_another_split_that_is_taken_by_default_is_part_of_the_key(
    name: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CriticalityOptions, "batch", 8)
    model = build([("post", 6, 1)] * 2, seed=3)
    opened = [
        ensembles.dataset(folder_of(tmp_path / f"{seed}", model, seed), normalize="0.5/0.25")
        for seed in (5, 6)
    ]
    assert opened[0].content_hash == opened[1].content_hash
    net = ensembles.decompose(model, next(opened[0].batches(4))[0])
    store = tmp_path / "kept.db"

    def known(data: Any) -> bool:
        frame = ensembles.analyze(net, data, name, store=store, **options)
        return bool(frame.attrs["store"]["known"])

    needs_it = options != {"trials": 1}
    with monkeypatch.context() as before:
        before.setattr(needed, "digest_of_usual", lambda *_: "")
        assert [known(opened[0]), known(opened[0])] == [False, True]
    assert known(opened[0])  # what was kept before is found
    assert known(opened[1]) is not needs_it
    assert known(opened[0]) and known(opened[1])
