from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from ensembles.engine.outcome import Outcome
from ensembles.errors import OutputError, UsageError
from ensembles.lesions import Lesion, intact
from ensembles.tables import (
    check_writable,
    frame_to_csv,
    frame_to_json,
    lesion_frame,
    provenance,
    read_frame,
    split_frames,
    stack_frames,
    write_frame,
)

NAMES = ["stage1.0", "stage1.1", "stage2.0"]
COLUMNS = [
    "lesion",
    "count",
    "blocks",
    "block_names",
    "kendall_tau",
    "trial",
    "seed",
    "correct",
    "total",
    "error",
    "loss",
    "nonfinite",
    "adapted",
]
FORMATS = ("csv", "parquet", "json")


@pytest.fixture
def frame() -> pd.DataFrame:
    outcomes = [
        Outcome(Lesion("delete", (3,)), 60, 100, 75.0),
        Outcome(intact(), 90, 100, 25.0),
        Outcome(Lesion("delete", (1, 3), trial=0, seed=2**60 + 1), 10, 100, 500.0, nonfinite=2),
        Outcome(Lesion("reorder", swaps=((1, 2),)), 70, 100, 1 / 3),
    ]
    return lesion_frame(
        outcomes,
        NAMES,
        3,
        adapted={2: "unused", 3: "stride 2, 16 to 32 channels"},
        provenance={"versions": {"torch": "2.0"}, "threads": 1},
        model="resnet110",
        dataset="digits",
        classes=10,
        transitions=(3,),
    )


def test_lesion_frame(frame: pd.DataFrame) -> None:
    assert list(frame.columns) == COLUMNS
    assert list(frame.lesion) == ["none", "delete", "delete", "reorder"]
    assert list(frame.blocks) == ["", "3", "1 3", "1-2"]
    assert list(frame["count"]) == [0, 1, 2, 1]
    assert list(frame.block_names) == ["", "stage2.0", "stage1.0 stage2.0", "stage1.0-stage1.1"]
    assert list(frame.adapted) == ["", "stage2.0", "stage2.0", ""]
    assert list(frame.error[[0, 1, 3]]) == [0.1, 0.4, 0.3]
    assert math.isnan(frame.error[2])
    assert math.isnan(frame.loss[2])
    assert list(frame.loss[[0, 1]]) == [0.25, 0.75]
    assert list(frame.nonfinite) == [0, 0, 2, 0]
    assert frame.kendall_tau[0] == 1
    assert frame.kendall_tau[3] == pytest.approx(1 / 3)
    assert frame.kendall_tau[[1, 2]].isna().all()
    assert (frame.dtypes["trial"], frame.dtypes["seed"]) == ("Int64", "Int64")
    assert frame.seed[2] == 2**60 + 1
    assert frame.trial.isna().tolist() == [True, True, False, True]
    assert frame.attrs == {
        "provenance": {"versions": {"torch": "2.0"}, "threads": 1},
        "blocks": 3,
        "transitions": [3],
        "adapted": {"stage2.0": "stride 2, 16 to 32 channels"},
        "model": "resnet110",
        "dataset": "digits",
        "chance": 0.9,
    }


def test_no_outcomes_make_an_empty_frame() -> None:
    empty = lesion_frame([], NAMES, 3)
    assert list(empty.columns) == COLUMNS
    assert empty.attrs == {"provenance": {}, "blocks": 3, "transitions": [], "adapted": {}}


@pytest.mark.parametrize("suffix", FORMATS)
def test_frames_read_back_as_they_were(frame: pd.DataFrame, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    assert write_frame(frame, path) == path
    back = read_frame(path)
    assert_frame_equal(back, frame, check_exact=True)
    assert back.attrs == frame.attrs
    aside = ["x.csv.attrs.json"] if suffix == "csv" else []
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"x.{suffix}", *aside]


@pytest.mark.parametrize("suffix", FORMATS)
def test_empty_frames_too(suffix: str, tmp_path: Path) -> None:
    empty = lesion_frame([], NAMES, 3)
    assert_frame_equal(read_frame(write_frame(empty, tmp_path / f"x.{suffix}")), empty)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("n", [54, 600])
def test_exact_numbers_of_paths_survive(suffix: str, n: int, tmp_path: Path) -> None:
    paths = pd.Series([math.comb(n, k) for k in range(n + 1)], dtype=object)
    frame = pd.DataFrame(
        {"length": range(n + 1), "paths": paths, "kept": paths.map(lambda p: p > 9)}
    )
    back = read_frame(write_frame(frame, tmp_path / f"x.{suffix}"))
    assert_frame_equal(back, frame)
    assert sum(back.paths) == 2**n


@given(st.lists(st.floats(), max_size=5))
def test_numbers_keep_every_digit(tmp_path_factory: pytest.TempPathFactory, x: list[float]) -> None:
    frame = pd.DataFrame({"x": np.asarray(x, dtype="float64")})
    for suffix in FORMATS:
        path = tmp_path_factory.mktemp("numbers") / f"x.{suffix}"
        assert_frame_equal(read_frame(write_frame(frame, path)), frame, check_exact=True)


@pytest.mark.parametrize("suffix", FORMATS)
def test_several_networks_in_one_file(frame: pd.DataFrame, suffix: str, tmp_path: Path) -> None:
    other = frame[:2].copy()
    other.attrs |= {"model": "vgg15", "transitions": []}
    table = stack_frames([frame, other])
    assert list(table.columns) == ["model", *COLUMNS]
    assert list(table.model) == ["resnet110"] * 4 + ["vgg15"] * 2
    parts = split_frames(read_frame(write_frame(table, tmp_path / f"x.{suffix}")))
    for part, whole in zip(parts, [frame, other], strict=True):
        assert_frame_equal(part, whole)
        assert part.attrs == whole.attrs
    assert stack_frames([frame]) is frame
    assert split_frames(frame)[0] is frame
    assert len(split_frames(table[1:])) == 1


def test_csv_is_plain(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = write_frame(frame, tmp_path / "x.csv")
    lines = path.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[1] == "none,0,,,1.0,,,90,100,0.1,0.25,0,"
    by_pandas = pd.read_csv(path)
    assert list(by_pandas.lesion) == list(frame.lesion)
    assert path.read_text() == frame_to_csv(frame)


def test_csv_without_its_attributes(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = write_frame(frame, tmp_path / "x.csv")
    (tmp_path / "x.csv.attrs.json").unlink()
    back = read_frame(path)
    assert back.attrs == {}
    assert_frame_equal(back, frame, check_exact=True)


def test_json_is_strict(frame: pd.DataFrame) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    whole = json.loads(frame_to_json(frame), parse_constant=refuse)
    assert whole["rows"][2]["error"] is None
    assert whole["rows"][2]["seed"] == 2**60 + 1
    assert whole["attrs"] == frame.attrs


def test_check_writable_leaves_nothing(tmp_path: Path) -> None:
    assert check_writable(tmp_path / "x.csv") == tmp_path / "x.csv"
    assert list(tmp_path.iterdir()) == []


def test_check_writable_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.csv").mkdir()
    for name, kind, error in [
        (
            "x.txt",
            UsageError,
            "output x.txt: the ending '.txt' tells no known format; expected "
            ".csv, .parquet or .json",
        ),
        (
            "x",
            UsageError,
            "output x: no ending tells no known format; expected .csv, .parquet or .json",
        ),
        ("folder.csv", OutputError, "output folder.csv: is a folder; name a file in it"),
        ("no/x.csv", OutputError, "output no/x.csv: there is no folder no; make it first"),
        (f"{'x' * 300}.csv", OutputError, "cannot be written (File name too long)"),
    ]:
        with pytest.raises(kind, match=re.escape(error)):
            check_writable(name)


def test_protected_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputError, match=r"x.csv: the file is protected against writing$"):
        check_writable(path)


def test_a_folder_that_takes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(
        OutputError, match=r"x.csv: cannot be written \(Permission denied\); choose"
    ):
        check_writable(tmp_path / "x.csv")


def test_parquet_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensembles.tables.formats.find_spec", lambda _: None)
    with pytest.raises(OutputError, match="Parquet needs the package pyarrow; install ensembles"):
        check_writable(tmp_path / "x.parquet")


def test_a_link_stays_a_link(frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_frame(frame, tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert_frame_equal(read_frame(tmp_path / "real.json"), frame)


def test_read_errors(tmp_path: Path) -> None:
    for name, text, error in [
        ("x.txt", "", "expected a file ending in .csv, .parquet, .json"),
        ("x.csv", "", "is no table of results (the file is empty)"),
        ("y.csv", "a,b\n1\n", "is no table of results (row 1 has 1 cells under 2 columns)"),
        ("z.csv", "a,a\n1,2\n", "is no table of results (two columns have the same name)"),
        ("x.json", "[1]", "is no table of results"),
        ("y.json", "{", "is no table of results"),
        ("x.parquet", "no", "is no table of results"),
    ]:
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(UsageError, match=re.escape(f"results {path}: {error}")) as caught:
            read_frame(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"absent.csv: cannot be read \(No such file"):
        read_frame(tmp_path / "absent.csv")


def test_provenance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record: dict[str, Any] = provenance(precision="fp32", threads=2, details={"model": "resnet110"})
    assert set(record["versions"]) == {"ensembles", "torch", "torchvision", "numpy", "python"}
    assert record["versions"]["numpy"] == np.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record["time"])
    assert (record["precision"], record["threads"], record["model"]) == ("fp32", 2, "resnet110")
    assert record["device"] == "cpu"
    assert record["device_name"]
    json.dumps(record, allow_nan=False)
    monkeypatch.chdir(tmp_path)
    assert provenance()["git_commit"] is None


def test_provenance_names_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *command], check=True)
    assert re.fullmatch(r"[0-9a-f]{40}", str(provenance()["git_commit"]))


def test_reading_results_needs_no_torch() -> None:
    code = "import sys, ensembles.tables; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
