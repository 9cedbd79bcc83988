"""A study that version 1 of the program measured goes on: its store was made by that program."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ensembles.studies import export, read_study, run, status, tables

SAVED = Path(__file__).parent / "data" / "study-version-1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The study, with the store that version 1 filled."""
    for name in ("study.toml", "study.db"):
        shutil.copy(SAVED / name, tmp_path / name)
    return tmp_path


def test_status_is_as_it_was(folder: Path) -> None:
    found = status(read_study(folder / "study.toml"), folder / "study.db")
    assert found["state"].tolist() == ["done"] * 9 + ["failed"]
    assert found["done"].tolist() == [5, 5, 5, 3, 1, 1, 5, 5, 5, 0]
    assert found["reason"].tolist() == [""] * 9 + ["block 40: the network has blocks 1 to 15"]


def test_export_is_as_it_was(folder: Path) -> None:
    study = read_study(folder / "study.toml")
    written = export(study, folder / "study.db", folder / "x.csv")
    assert [path.name for path in written] == ["x-lesions.csv", "x-gradient.csv", "x-logits.csv"]
    for path in written:
        before = pd.read_csv(SAVED / path.name.removeprefix("x-"))
        assert_frame_equal(pd.read_csv(path)[before.columns], before)


def test_nothing_is_measured_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_arguments: object, **_options: object) -> None:
        raise AssertionError("something was measured")

    study, lines = read_study(folder / "study.toml"), list[str]()
    before = tables(study, folder / "study.db")
    monkeypatch.setattr("ensembles.analyses.members.lesion.lesion", never)
    monkeypatch.setattr("ensembles.analyses.analyze.analyze", never)
    run(study, folder / "study.db", tell=lines.append)
    assert lines[1:] == [
        "study study: 10 units, 9 of them complete; 0 lesions and 0 other analyses to measure"
    ]
    after = tables(study, folder / "study.db")
    for name, table in before.items():
        assert len(table) == len(after[name])
