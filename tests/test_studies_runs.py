"""Studies run into a store: what is missing is measured, once, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal
from study_tables import plain
from untrained import save_untrained

import ensembles
from ensembles.analyses.members import lesion as sweeps
from ensembles.analyses.path_options import PathOptions
from ensembles.checkpoints import open_subject
from ensembles.errors import OutputError, StoreError, UsageError
from ensembles.lesions import Choice, Delete
from ensembles.statistics import correct_by_image, paired_tests
from ensembles.store import Store
from ensembles.store.blobs import encode_state
from ensembles.store.states import keep_state, states_of
from ensembles.studies import (
    Data,
    Measurement,
    Network,
    Study,
    Sweep,
    export,
    merge,
    run,
    status,
    tables,
)
from ensembles.tables import read_frame, split_frames

FEW = Data("digits", limit=6)
DELETE = Sweep(Choice(blocks=(1, 2, 3)))
DRAWN = Sweep(Choice(counts=4, trials=2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of weights of untrained networks."""
    place = tmp_path_factory.mktemp("study")
    for seed, name in enumerate(("a.pt", "b.pt")):
        save_untrained(place / name, seed)
    return place


@pytest.fixture
def make(folder: Path) -> Callable[..., Study]:
    """A study of one network with a few lesions."""

    def study(**changes: Any) -> Study:
        usual: dict[str, Any] = {
            "name": "small",
            "models": (Network("resnet20", "a.pt"),),
            "data": (FEW,),
            "lesions": (DELETE, DRAWN),
            "folder": folder,
        }
        return Study(**{**usual, **changes})

    return study


def test_a_study_equals_the_calls_that_it_stands_for(
    make: Callable[..., Study], folder: Path, tmp_path: Path
) -> None:
    study, lines = make(seeds=(0, 3)), list[str]()
    found = run(study, tmp_path / "x.db", tell=lines.append)
    assert found["analysis"].tolist() == ["delete 1 of 1-3", "delete 4 x 2", "delete 4 x 2"]
    assert found["seed"].tolist() == [pd.NA, 0, 3]
    assert found["total"].tolist() == [4, 3, 3] and found["done"].tolist() == [4, 3, 3]
    assert (found["state"] == "done").all() and (found["missing"] == 0).all()
    assert lines[0] == (
        "study small: 3 units, 0 of them complete; 8 lesions and 0 other analyses to measure"
    )
    assert lines[1] == "1/3 resnet20 on digits: delete 1 of 1-3: 4 lesions, 4 of them measured now"
    assert lines[3].endswith("3 lesions, 2 of them measured now")
    subject = open_subject("resnet20", folder / "a.pt", dataset="digits", limit=6, check=False)
    wanted = [
        *subject.lesions(DELETE.choice),
        *subject.lesions(Choice(counts=4, trials=2))[1:],
        *subject.lesions(Choice(counts=4, trials=2, seed=3))[1:],
    ]
    expected = ensembles.lesion(subject.net, subject.data, wanted)
    table = tables(study, tmp_path / "x.db")["lesions"]
    assert list(table.columns[:4]) == ["model", "dataset", "split", "precision"]
    assert_frame_equal(plain(table[expected.columns]), plain(expected), check_exact=False)
    assert table.attrs["study"] == study.described()
    [alone] = split_frames(table)
    assert alone.attrs["model"] == "resnet20" and alone.attrs["blocks"] == 9
    assert alone.attrs["runs"][0]["checkpoint"] == "a" and len(alone.attrs["runs"]) == 3


def test_what_is_there_is_not_measured_again(
    make: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make(), tmp_path / "x.db")
    longer = make(lesions=(DELETE, Sweep(Choice(counts=4, trials=3))))
    before = status(longer, tmp_path / "x.db")
    assert before["state"].tolist() == ["done", "new"]
    lines: list[str] = []
    run(longer, tmp_path / "x.db", tell=lines.append)
    assert lines[0].endswith("1 of them complete; 1 lesions and 0 other analyses to measure")
    assert lines[1:] == [
        "1/1 resnet20 on digits: delete 4 x 3, seed 0: 4 lesions, 1 of them measured now"
    ]

    def never(*_arguments: object, **_options: object) -> None:
        raise AssertionError("something was measured")

    monkeypatch.setattr("ensembles.analyses.members.lesion.lesion", never)
    assert (run(longer, tmp_path / "x.db")["state"] == "done").all()


def test_an_interrupted_study_is_continued(
    make: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, calls = sweeps.lesion, []

    def interrupted(*arguments: Any, **options: Any) -> pd.DataFrame:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*arguments, **options)

    monkeypatch.setattr(sweeps, "lesion", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(make(), tmp_path / "x.db")
    half = status(make(), tmp_path / "x.db")
    assert half["state"].tolist() == ["done", "part"] and half["missing"].tolist() == [0, 2]
    assert (run(make(), tmp_path / "x.db")["state"] == "done").all()
    run(make(), tmp_path / "whole.db")
    assert_frame_equal(
        plain(tables(make(), tmp_path / "x.db")["lesions"]),
        plain(tables(make(), tmp_path / "whole.db")["lesions"]),
    )


def test_a_unit_that_fails_is_told_and_the_others_go_on(
    make: Callable[..., Study], tmp_path: Path
) -> None:
    study = make(
        models=(Network("resnet20", "none.pt"), Network("resnet20", "a.pt", label="there")),
        lesions=(DELETE, Sweep(Choice(blocks=(12,)))),
    )
    lines: list[str] = []
    found = run(study, tmp_path / "x.db", tell=lines.append)
    assert found["state"].tolist() == ["failed", "failed", "done", "failed"]
    assert found["reason"].str.contains("none.pt").tolist() == [True, True, False, False]
    assert found["reason"][3] == "block 12: the network has blocks 1 to 9"
    assert lines[0].startswith("resnet20 on digits: delete 1 of 1-3: failed: ")
    assert "2 units" not in lines[3] and "0 of them complete" in lines[3]
    table = tables(study, tmp_path / "x.db")["lesions"]
    assert set(table["model"]) == {"there"} and len(table) == 4


def test_a_failure_is_forgotten_once_it_is_mended(
    make: Callable[..., Study], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "later").mkdir()
    study = make(models=(Network("resnet20", "late.pt"),), folder=tmp_path / "later")
    assert (run(study, tmp_path / "x.db")["state"] == "failed").all()
    (tmp_path / "later" / "late.pt").write_bytes((folder / "a.pt").read_bytes())
    found = run(study, tmp_path / "x.db")
    assert (found["state"] == "done").all() and (found["reason"] == "").all()


def test_other_weights_under_the_same_name_are_measured_anew(
    make: Callable[..., Study], folder: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "w.pt"
    study = make(models=(Network("resnet20", "w.pt"),), lesions=(DELETE,), folder=tmp_path)
    found = []
    for name in ("a.pt", "b.pt"):
        weights.write_bytes((folder / name).read_bytes())
        run(study, tmp_path / "x.db")
        found.append(tables(study, tmp_path / "x.db")["lesions"]["loss"])
    assert (found[0] - found[1]).abs().min() > 1e-6
    with Store(tmp_path / "x.db", mode="r") as store:
        assert len(store.contexts()) == 2


def test_paths_have_tables_of_their_own(make: Callable[..., Study], tmp_path: Path) -> None:
    study = make(
        lesions=(),
        analyses=(
            Measurement("paths", PathOptions(images=2, signs=2)),
            Measurement("paths", PathOptions(direction="logits", images=4)),
        ),
        seeds=(0, 1),
    )
    assert status_of_new(study, tmp_path) == ["new", "new", "new"]
    assert (run(study, tmp_path / "x.db")["state"] == "done").all()
    found = tables(study, tmp_path / "x.db")
    assert list(found) == ["gradient", "logits"]
    gradient = found["gradient"]
    assert gradient["seed"].tolist() == [0] * 10 + [1] * 10
    assert gradient["length"].tolist() == [*range(10), *range(10)]
    assert (gradient[["images", "signs"]] == 2).all(axis=None)
    assert gradient["paths"].sum() == 2 * 2**9
    assert (
        gradient["gradient_coherent"][:10].to_numpy() == gradient["gradient_coherent"][10:]
    ).all()
    assert list(found["logits"].columns[:6]) == [
        "model", "dataset", "split", "images", "statistics", "precision",
    ]  # fmt: skip
    lines: list[str] = []
    run(study, tmp_path / "x.db", tell=lines.append)
    assert lines == [
        "study small: 3 units, 3 of them complete; 0 lesions and 0 other analyses to measure"
    ]


def status_of_new(study: Study, folder: Path) -> list[str]:
    Store(folder / "x.db").close()
    found = status(study, folder / "x.db")
    assert found["total"].isna().all() and found["missing"].isna().all()
    return list(found["state"])


def test_progress_counts_all_that_is_missing(make: Callable[..., Study], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    run(make(), tmp_path / "x.db", progress=lambda *now: seen.append(now))
    assert seen[0] == (0, 6) and seen[-1] == (6, 6)
    assert [now for now, _ in seen] == sorted(now for now, _ in seen)


def test_predictions_serve_paired_tests(make: Callable[..., Study], tmp_path: Path) -> None:
    run(make(lesions=(DELETE,)), tmp_path / "x.db")
    study = make(lesions=(DELETE,), predictions=True)
    with Store(tmp_path / "x.db") as store:
        found = run(study, store)
        assert (found["done"] == 4).all()
        [context] = store.contexts()
        correct = correct_by_image(store.labels(context), store.predictions(context))
    table = tables(study, tmp_path / "x.db")["lesions"]
    columns = list(zip(table["lesion"], table["blocks"], strict=True))
    assert correct[columns].sum().tolist() == table["correct"].tolist()
    tests = paired_tests(correct)
    assert tests["blocks"].tolist() == ["1", "2", "3"]
    expected = table["error"][1:] - table["error"][0]
    assert tests["difference"].to_numpy() == pytest.approx(expected.to_numpy())


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_export(make: Callable[..., Study], tmp_path: Path, ending: str) -> None:
    both = make(
        models=(Network("resnet20", "a.pt"), Network("resnet20", "b.pt", label="b")),
        lesions=(DELETE,),
        analyses=(Measurement("paths", PathOptions(direction="logits", images=2), models=("b",)),),
    )
    store = tmp_path / "x.db"
    run(both, store)
    written = export(both, store, tmp_path / f"out.{ending}")
    assert [path.name for path in written] == [f"out-lesions.{ending}", f"out-logits.{ending}"]
    table = tables(both, store)["lesions"]
    read = read_frame(written[0])
    assert_frame_equal(plain(read), plain(table))
    assert [frame.attrs["model"] for frame in split_frames(read)] == ["resnet20", "b"]
    keys = [frame.attrs["key"] for frame in split_frames(read)]
    assert len({key["weights"] for key in keys}) == 2 and len({key["data"] for key in keys}) == 1
    assert (keys[0]["images"], keys[0]["image_shape"]) == (6, [3, 32, 32])
    assert read.attrs["study"] == json.loads(json.dumps(both.described()))
    [alone] = export(both, store, tmp_path / f"alone.{ending}", "logits")
    assert alone.name == f"alone.{ending}" and len(read_frame(alone)) == 10


def test_what_cannot_be_exported(make: Callable[..., Study], tmp_path: Path) -> None:
    Store(tmp_path / "x.db").close()
    with pytest.raises(OutputError, match=r"^study small: the store holds nothing of it yet; run"):
        export(make(), tmp_path / "x.db", tmp_path / "x.csv")
    with pytest.raises(
        UsageError, match=r"^table 'lesion'; the study has lesions; did you mean les"
    ):
        export(make(), tmp_path / "x.db", tmp_path / "x.csv", "lesion")
    with pytest.raises(StoreError, match=r"none\.db: there is no such file"):
        tables(make(), tmp_path / "none.db")
    assert status(make(), tmp_path / "none.db")["state"].tolist() == ["new", "new"]
    assert not (tmp_path / "none.db").exists()


def test_stores_of_two_machines_become_one(make: Callable[..., Study], tmp_path: Path) -> None:
    one, two = (make(seeds=(seed,)) for seed in (0, 1))
    run(one, tmp_path / "one.db")
    run(two, tmp_path / "two.db")
    merged = merge(tmp_path / "all.db", [tmp_path / "one.db", tmp_path / "two.db"])
    assert (merged.added, merged.known, merged.different) == (8, 4, 0)
    both = make(seeds=(0, 1))
    assert (status(both, tmp_path / "all.db")["state"] == "done").all()
    assert len(tables(both, tmp_path / "all.db")["lesions"]) == 8


def test_conflicting_counts_are_refused(make: Callable[..., Study], tmp_path: Path) -> None:
    study = make(lesions=(DELETE,))
    for name in ("one.db", "two.db"):
        run(study, tmp_path / name)
    with Store(tmp_path / "two.db") as store:
        [context] = store.contexts()
        found = store.outcomes(context)[Delete((2,))].correct
        with store.connection.transaction() as raw:
            [(row,)] = raw.execute("SELECT id FROM lesions WHERE kind = 'delete' AND text = '2'")
            kept = states_of(raw, row)["top1"]
            other = kept._replace(content=encode_state(np.array([found + 1.0])))
            keep_state(raw, row, "top1", other)
            raw.execute("DELETE FROM states WHERE lesion = ? AND metric = 'classes'", (row,))
    paths = [tmp_path / "one.db", tmp_path / "two.db"]
    with pytest.raises(StoreError) as error:
        merge(tmp_path / "all.db", paths)
    counts = f"{found} of 6 right in the one, {found + 1} of 6 right in the other"
    assert f"differ: resnet20, delete 2: {counts}" in str(error.value)
    assert not (tmp_path / "all.db").exists()
    merged = merge(tmp_path / "all.db", paths, keep_first=True)
    assert (merged.added, merged.known, merged.different) == (4, 3, 1)
    table = tables(study, tmp_path / "all.db")["lesions"]
    assert table["correct"][2] == found


def test_a_unit_that_failed_on_one_machine_is_done_where_another_measured_it(
    make: Callable[..., Study], folder: Path, tmp_path: Path
) -> None:
    usual: dict[str, Any] = {"models": (Network("resnet20", "w.pt"),), "lesions": (DELETE,)}
    without, complete = tmp_path / "without", tmp_path / "with"
    for place in (without, complete):
        place.mkdir()
    (complete / "w.pt").write_bytes((folder / "a.pt").read_bytes())
    studies = [make(**usual, folder=place) for place in (without, complete)]
    for study, name in zip(studies, ("one.db", "two.db"), strict=True):
        run(study, tmp_path / name)
    assert status(studies[0], tmp_path / "one.db")["state"].tolist() == ["failed"]
    merge(tmp_path / "all.db", [tmp_path / "one.db", tmp_path / "two.db"])
    found = status(studies[0], tmp_path / "all.db")
    assert (found["state"].tolist(), found["reason"].tolist()) == (["done"], [""])
    assert len(tables(studies[0], tmp_path / "all.db")["lesions"]) == 4


@pytest.mark.parametrize("keep_first", [False, True])
def test_nothing_is_made_for_a_source_that_is_not_there(tmp_path: Path, keep_first: bool) -> None:
    with pytest.raises(StoreError, match=r"none\.db: there is no such file"):
        merge(tmp_path / "all.db", [tmp_path / "none.db"], keep_first=keep_first)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "memory ran out; take fewer images"),
        (NotImplementedError("no such\noperation"), "NotImplementedError: no such operation"),
        (ValueError("embedded null byte"), "ValueError: embedded null byte"),
    ],
)
def test_what_torch_refuses_fails_one_unit_and_the_others_go_on(
    make: Callable[..., Study],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    def refuses(*_arguments: object, **_options: object) -> None:
        raise error

    study = make(
        models=(Network("resnet20", "a.pt"), Network("resnet20", "b.pt", label="b")),
        lesions=(DELETE,),
        analyses=(Measurement("paths", PathOptions(images=2, signs=0), models=("resnet20",)),),
    )
    with monkeypatch.context() as patched:
        patched.setattr("ensembles.analyses.analyze.analyze", refuses)
        found = run(study, tmp_path / "x.db")
    assert found["state"].tolist() == ["done", "failed", "done"]
    assert found["reason"][1].startswith(reason)
    assert (run(study, tmp_path / "x.db")["state"] == "done").all()
