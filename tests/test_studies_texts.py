"""Texts in study files: windows, strides, what is put in front."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensembles.errors import UsageError
from ensembles.studies import Data, export, read_study, run
from ensembles.tables import read_frame

FILE = """
name = "words"

[[models]]
name = "gpt12"

[[data]]
name = "prose"
window = 24
stride = 12
front = "10"
limit = 2

[[lesions]]
kind = "delete"
blocks = [1, 12]
"""


def test_a_study_measures_a_text_as_its_file_says(tmp_path: Path) -> None:
    path = tmp_path / "words.toml"
    path.write_text(FILE)
    study = read_study(path)
    assert study.data == (Data("prose", limit=2, window=24, stride=12, front="10"),)
    assert (
        study.units()[0].digest
        != read_study(_with(path, "stride = 12", "stride = 6")).units()[0].digest
    )
    path.write_text(FILE)
    found = run(study, tmp_path / "words.db")
    assert (found["state"] == "done").all()
    (file,) = export(study, tmp_path / "words.db", tmp_path / "out.csv", "lesions")
    frame = read_frame(file)
    assert frame["total"].tolist() == [46] * 3


def _with(path: Path, old: str, new: str) -> Path:
    path.write_text(FILE.replace(old, new))
    return path


@pytest.mark.parametrize("what", ["window", "stride"])
def test_lengths_that_cannot_be_meant(what: str) -> None:
    with pytest.raises(UsageError, match=f"{what} 0: expected 1 or more"):
        Data("prose", **{what: 0})
