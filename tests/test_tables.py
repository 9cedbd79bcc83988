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
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from ensembles.errors import OutputError, UsageError
from ensembles.lesions import Delete, Intact, Lesion, Reorder, Reverse, Scale
from ensembles.metrics import METRICS, Outcome, read
from ensembles.tables import (
    Attributes,
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
from ensembles.tables.columns import describe, infer, plain, restore
from ensembles.tables.schema import LESION_COLUMNS

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


def outcome(
    lesion: Lesion, correct: int, total: int, loss: float, nonfinite: int = 0, **more: list[float]
) -> Outcome:
    states = {"top1": [correct], "loss": [loss], **more}
    return Outcome(
        lesion, total, nonfinite, {name: np.array(state, float) for name, state in states.items()}
    )


@pytest.fixture
def frame() -> pd.DataFrame:
    outcomes = [
        outcome(Delete((3,)), 60, 100, 75.0),
        outcome(Intact(), 90, 100, 25.0),
        outcome(Delete((1, 3)).drawn(0, 2**60 + 1), 10, 100, 500.0, nonfinite=2),
        outcome(Reorder(((1, 2),)), 70, 100, 1 / 3),
    ]
    return lesion_frame(
        outcomes,
        names=NAMES,
        stand_ins={2: "unused", 3: "stride 2, 16 to 32 channels"},
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
        "metrics": ["top1", "loss"],
        "model": "resnet110",
        "dataset": "digits",
        "chance": 0.9,
        "chances": {"loss": math.log(10)},
    }


def test_blocks_that_run_without_their_branch_are_adapted_whatever_the_kind() -> None:
    lesions = [
        Delete((2,)).then(Scale((1,), 0.5)),
        Delete((2,)).recalibrated(),
        Scale((2,), 0.5),
        Intact(),
    ]
    frame = lesion_frame(
        [outcome(lesion, 1, 2, 1.0) for lesion in lesions], names=NAMES, stand_ins={2: "a map"}
    )
    assert list(frame.adapted) == ["", "stage1.1", "stage1.1", ""]
    assert list(frame.lesion) == ["none", "then", "recalibrated", "scale"]


def test_the_recalibrated_intact_network_is_not_the_first_row() -> None:
    lesions = [Intact().recalibrated(), Intact()]
    frame = lesion_frame([outcome(lesion, 1, 2, 1.0) for lesion in lesions], names=NAMES)
    assert list(frame.blocks) == ["", "none | 8x128"]


def test_columns_of_metrics_come_in_the_order_asked() -> None:
    made = outcome(Intact(), 3, 4, 2.0, kl=[0.0], classes=[1, 2, 2, 2], agreement=[4])
    frame = lesion_frame(
        [made], names=NAMES, metrics=("top1", "kl", "classes", "loss", "agreement"), classes=2
    )
    place = COLUMNS.index("nonfinite")
    middle = ["kl", "class_correct", "agreement"]
    assert list(frame.columns) == [*COLUMNS[:place], *middle, *COLUMNS[place:]]
    assert frame.loc[0, "class_correct"] == [1, 2]
    assert (frame.loc[0, "kl"], frame.loc[0, "agreement"]) == (0, 1)
    assert frame.attrs["metrics"] == ["top1", "kl", "classes", "loss", "agreement"]
    assert frame.attrs["chances"]["agreement"] == 0.5
    alone = lesion_frame([made], names=NAMES, metrics="kl")
    assert list(alone.columns) == [*COLUMNS[:7], "total", "kl", "nonfinite", "adapted"]


def test_a_metric_that_was_not_measured_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^metric 'kl' was not measured, only top1, loss; name"):
        lesion_frame([outcome(Intact(), 1, 2, 1.0)], names=NAMES, metrics=("kl",))


def test_no_outcomes_make_an_empty_frame() -> None:
    empty = lesion_frame([], names=NAMES)
    assert list(empty.columns) == COLUMNS
    assert empty.attrs == {
        "provenance": {}, "blocks": 3, "transitions": [], "adapted": {},
        "metrics": ["top1", "loss"],
    }  # fmt: skip


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
    empty = lesion_frame([], names=NAMES)
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
@settings(deadline=None, max_examples=25)
def test_numbers_keep_every_digit(tmp_path_factory: pytest.TempPathFactory, x: list[float]) -> None:
    frame = pd.DataFrame({"x": np.asarray(x, dtype="float64")})
    for suffix in FORMATS:
        path = tmp_path_factory.mktemp("numbers") / f"x.{suffix}"
        assert_frame_equal(read_frame(write_frame(frame, path)), frame, check_exact=True)


@pytest.mark.parametrize("suffix", FORMATS)
def test_networks_with_other_columns_in_one_file(
    frame: pd.DataFrame, suffix: str, tmp_path: Path
) -> None:
    made = outcome(Intact(), 3, 4, 2.0, kl=[0.5], classes=[1, 2, 2, 2])
    other = lesion_frame([made], names=NAMES, metrics=("classes", "kl", "loss"), model="b")
    table = stack_frames([frame, other])
    assert list(table.columns)[-5:] == ["loss", "class_correct", "kl", "nonfinite", "adapted"]
    assert table["correct"].tolist()[:4] == frame["correct"].tolist()
    for one in (table, read_frame(write_frame(table, tmp_path / f"x.{suffix}"))):
        parts = split_frames(one)
        for part, whole in zip(parts, [frame, other], strict=True):
            assert_frame_equal(part, whole)
            assert part.attrs == whole.attrs


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
    chosen = split_frames(table[1:])  # rows that the attributes no longer count
    assert [part.attrs["model"] for part in chosen] == ["resnet110", "vgg15"]
    assert [len(part) for part in chosen] == [3, 2]
    assert chosen[0].attrs["transitions"] == frame.attrs["transitions"]
    bare = table.copy()
    bare.attrs = {}  # as pandas alone reads the file
    assert [part.attrs["model"] for part in split_frames(bare)] == ["resnet110", "vgg15"]


def test_networks_that_nothing_tells_apart_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"holds 2 intact networks, .*: give a table for each"):
        split_frames(pd.concat([frame, frame]))


def three(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=3, max_size=3)


whole = st.integers(-(2**63), 2**63 - 1)
counts = st.recursive(st.lists(st.integers(-(2**70), 2**70)), st.lists, max_leaves=4)
columns = st.one_of(
    st.tuples(st.just("text"), three(st.text(st.characters(exclude_categories=["Cs", "Cc"])))),
    st.tuples(st.just("truth"), three(st.booleans())),
    st.tuples(st.just("integer"), three(whole)),
    st.tuples(st.just("nullable"), three(whole | st.none())),
    st.tuples(st.just("exact"), three(st.integers(-(2**200), 2**200))),
    st.tuples(st.just("number"), three(st.floats())),
    st.tuples(st.just("counts"), three(counts | st.none()).filter(any)),
)


@given(st.lists(columns, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_columns_of_every_type_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, columns: list[tuple[str, list[Any]]]
) -> None:
    frame = pd.DataFrame(
        {f"{place} {dtype}": restore(held, dtype) for place, (dtype, held) in enumerate(columns)}
    )
    folder = tmp_path_factory.mktemp("columns")
    for suffix in FORMATS:
        back = read_frame(write_frame(frame, folder / f"x.{suffix}"))
        assert_frame_equal(back, frame, check_exact=True)
        assert describe(back) == describe(frame)


@pytest.mark.parametrize("suffix", FORMATS)
def test_counts_are_lists(suffix: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [[3, 1], np.array([2, 2]), (1, 3)]})
    assert describe(frame) == {"n": "counts"}
    path = write_frame(frame, tmp_path / f"x.{suffix}")
    back = read_frame(path)
    assert back["n"].tolist() == [[3, 1], [2, 2], [1, 3]]
    if suffix == "csv":
        (tmp_path / "x.csv.attrs.json").unlink()
        assert read_frame(path)["n"].tolist() == back["n"].tolist()
        assert path.read_text().splitlines()[1] == '"[3, 1]"'
    elif suffix == "json":
        assert json.loads(path.read_text())["rows"][0] == {"n": [3, 1]}
    else:
        import pyarrow.parquet as pq

        assert pq.read_table(path).column("n").to_pylist() == back["n"].tolist()


def test_what_columns_hold_is_guessed_from_their_text() -> None:
    assert infer(
        {
            "blocks": ["3", "17"], "counts": ["[1, 2]", ""], "odd": ["[1, 2", "[3]"],
            "deep": ["[" * 2000 + "]" * 2000], "n": ["1", "2"], "some": ["1", ""],
            "huge": [str(2**80)], "x": ["1.5", ""], "yes": ["True", "False"],
        }
    ) == {
        "blocks": "text", "counts": "counts", "odd": "text", "deep": "text", "n": "integer",
        "some": "nullable", "huge": "exact", "x": "number", "yes": "truth",
    }  # fmt: skip
    assert plain(pd.Series([[1], None], dtype=object), "counts") == [[1], None]
    with pytest.raises(ValueError, match=r"^'\[0.5\]' is no list of whole numbers$"):
        restore(["[0.5]"], "counts")


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
    monkeypatch.setattr("ensembles.writable.find_spec", lambda _: None)
    with pytest.raises(OutputError, match="Parquet needs the package pyarrow"):
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


def test_attributes_are_read_and_written() -> None:
    attrs = {
        "analysis": "lesion",
        "model": "resnet110",
        "transitions": [19, 37],
        "chance": 0.9,
        "chances": {"loss": 2.3},
        "sum_error": "inf",
        "failed": [{"lesion": "delete", "blocks": "3", "reason": "memory"}],
        "weight_layers": [[0, 0, 1], [1, 2, 2**70]],
        "networks": [{"rows": 2, "attrs": {"model": "a"}, "columns": {"lesion": "text"}}],
        "mine": {"anything": [1]},
    }
    found = Attributes.read(attrs)
    assert found.transitions == (19, 37)
    assert found.failed[0].reason == "memory"
    assert found.weight_layers[1] == (1, 2, 2**70)
    assert found.sum_error == math.inf
    assert found.networks[0].rows == 2
    assert found.more == {"mine": {"anything": [1]}}
    assert Attributes.read(found.written()) == found
    assert found.written() == attrs | {"sum_error": math.inf}
    assert Attributes.read({}).written() == {}
    assert Attributes.read({"sum_error": None}) == Attributes()


@pytest.mark.parametrize(
    ("attrs", "line"),
    [
        ({"transitions": "19"}, "attribute transitions: expected a list, found '19'"),
        ({"transitions": [1, 2.5]}, "attribute transitions: entry 2: expected a whole number, "),
        ({"chance": "high"}, "attribute chance: expected a number, found 'high'"),
        ({"chance": True}, "attribute chance: expected a number, found True"),
        ({"model": 3}, "attribute model: expected a text, found 3"),
        ({"provenance": []}, "attribute provenance: expected a mapping by names, found []"),
        ({"adapted": {"a": 1}}, "attribute adapted: 'a': expected a text, found 1"),
        ({"failed": [{"lesion": "x"}]}, "attribute failed: entry 1: 'blocks' is missing"),
        (
            {"networks": [{"rows": -1, "attrs": {}}]},
            "attribute networks: entry 1: rows: expected 0 or more, found -1",
        ),
        (
            {"networks": [{"rows": 1, "attrs": {"blocks": "many"}}]},
            "attribute networks: entry 1: attribute blocks: expected a whole number, found 'many'",
        ),
    ],
)
def test_attributes_of_other_types_are_refused(
    attrs: dict[str, Any], line: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(line)}"):
        Attributes.read(attrs)
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"attrs": attrs, "dtypes": {"a": "integer"}, "rows": [{"a": 1}]}))
    with pytest.raises(UsageError, match=re.escape(f"is no table of results ({line}")) as caught:
        read_frame(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("lesion,blocks,count,error\nnone,,0,low\n", "column error, row 1: expected a number, "
         "found 'low'"),
        ("lesion,blocks,count,error\ndelete,3,some,0.1\n", "column count, row 1: expected a whole "
         "number, found 'some'"),
        ("lesion,blocks,count,correct\ndelete,3,1,2.5\n", "column correct, row 1: expected a whole "
         "number, found 2.5"),
        ("lesion,blocks,count,trial\ndelete,3,1,x\n", "column trial: invalid literal"),
    ],
)  # fmt: skip
def test_columns_of_other_types_are_refused(text: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(line)):
        read_frame(path)


def test_tables_of_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("lesion,count,blocks,error\ndelete,1.0,3,0\nreorder,2,1-2,\n")
    found = read_frame(path)
    assert found["blocks"].tolist() == ["3", "1-2"] and math.isnan(found["error"][1])
    path.write_text("block,error\nfirst,low\n")
    assert read_frame(path)["error"].tolist() == ["low"]


def test_every_key_and_column_has_its_place_in_the_docs() -> None:
    text = (Path(__file__).parent.parent / "docs" / "tables.md").read_text(encoding="utf-8")
    for name, meaning in Attributes.meanings().items():
        assert f"| `{name}` | {meaning} |" in text, name
    for name, (kind, meaning) in LESION_COLUMNS.items():
        assert f"| `{name}` | {kind} | {meaning} |" in text, name


def test_every_metric_fits_in_a_table(tmp_path: Path) -> None:
    for name in METRICS.names():
        (metric,) = read(name)
        made = Outcome(Reverse((1, 2)), 4, 0, {name: np.ones(metric.size(3))})
        table = lesion_frame([made], names=NAMES, metrics=name)
        assert_frame_equal(read_frame(write_frame(table, tmp_path / "x.json")), table)
