"""Tables that programs act on, or that another hand wrote."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ensembles.errors import OutputError, UsageError
from ensembles.tables import (
    read_frame,
    write_frame,
)

ACTIVE = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "'", "=", "-"]
PLAIN = ["", "3 17", "-1.5", "+3", "-2e-3", "a=b", " =1", "x'y"]


@pytest.mark.parametrize("raw", [False, True])
def test_no_cell_of_a_csv_file_is_a_formula(raw: bool, tmp_path: Path) -> None:
    cells = [*ACTIVE, *PLAIN]
    frame = pd.DataFrame({"=name": pd.Series(cells, dtype="str"), "n": -1.5, "k": -3})
    path = write_frame(frame, tmp_path / "x.csv", raw=raw)
    header, *rows = list(csv.reader(path.open(newline="", encoding="utf-8")))
    assert header == ["=name" if raw else "'=name", "n", "k"]
    assert [row[0] for row in rows] == (cells if raw else [f"'{c}" for c in ACTIVE] + PLAIN)
    assert {tuple(row[1:]) for row in rows} == {("-1.5", "-3")}
    assert_frame_equal(read_frame(path), frame)


def bomb(path: Path) -> None:
    """A Parquet file of some kilobytes that unpacks to gigabytes."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    text = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 200_000])
    )
    note = json.dumps({"attrs": {}, "dtypes": {"text": "text"}})
    table = pa.table({"text": text}).replace_schema_metadata({b"ensembles": note})
    pq.write_table(table, path, store_schema=False)
    assert path.stat().st_size < 1 << 20


def pipe(path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs pipes")
    os.mkfifo(path)


HOSTILE = {
    "bomb.parquet": (bomb, "unpacks to more than 1,073,741,824 bytes"),
    "pipe.csv": (pipe, "it is no plain file"),
    "deep.json": (lambda p: p.write_text("[" * 10**6), "is no table of results"),
    "rows.json": (lambda p: p.write_text('{"dtypes": {"a": "text"}, "rows": 3}'), "no table"),
    "type.json": (lambda p: p.write_text('{"attrs": {}, "dtypes": {"a": "os"}, "rows": []}'), "os"),
    "list.json": (lambda p: p.write_text("[]"), "is no table of results"),
    "bytes.csv": (lambda p: p.write_bytes(b"a\n\xff\xfe\n"), "is no table of results"),
    "nul.csv": (  # Python reads it since 3.11
        lambda p: p.write_bytes(b"a\n\0\n"),
        None if sys.version_info >= (3, 11) else "line contains NUL",
    ),
    "long.csv": (lambda p: p.write_text("a\n" + "9" * 5000), "is no table of results"),
    "empty.parquet": (lambda p: p.write_bytes(b"PAR1PAR1"), "results .*empty.parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_tables_from_another_hand_are_a_line(name: str, tmp_path: Path) -> None:
    make, message = HOSTILE[name]
    make(tmp_path / name)
    if message is None:  # strange, but a table
        assert list(read_frame(tmp_path / name).columns) == ["a"]
        return
    with pytest.raises(UsageError, match=message) as caught:
        read_frame(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"SQLite format 3\0rest", b"PK\x03\x04rest", b"\x80\x02}q",
                                     b"\x40\0\0\0\0\0\0\0{"])  # fmt: skip
@pytest.mark.parametrize("name", ["x.csv", "x.json"])
def test_a_result_does_not_take_the_place_of_a_store_or_of_weights(
    content: bytes, name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(OutputError, match=r"holds .*, which a result must not replace"):
        write_frame(pd.DataFrame({"a": [1]}), path)
    assert path.read_bytes() == content
