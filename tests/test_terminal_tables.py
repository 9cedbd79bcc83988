"""Lesions of any kind and any measure as a person reads them at a terminal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ensembles.cli.results import plain_table
from ensembles.cli.tables import aligned, lesion_summary, lesion_table
from ensembles.lesions import Delete, Intact, Lesion, Noise, Reorder
from ensembles.metrics import Outcome
from ensembles.tables import lesion_frame

NAMES = ["a.0", "a.1", "b.0"]


def frame(
    rows: list[tuple[Lesion, int, float]], metrics: tuple[str, ...] = ("top1", "loss")
) -> pd.DataFrame:
    made = [
        Outcome(
            lesion, 100, 0,
            {
                "top1": np.array([correct]), "loss": np.array([loss]), "kl": np.array([loss / 2]),
                "agreement": np.array([correct]), "classes": np.array([1, 2, 3, 4]),
            },
        )
        for lesion, correct, loss in rows
    ]  # fmt: skip
    return lesion_frame(
        made, names=NAMES, metrics=metrics, stand_ins={2: "a map"}, classes=2, model="tiny"
    )


ROWS: list[tuple[Lesion, int, float]] = [
    (Intact(), 90, 25.0),
    (Delete((2,)), 60, 75.0),
    (Noise((3,), 0.1, seed=3).recalibrated(), 80, 123456789.0),
]


def test_cells_stand_in_columns() -> None:
    assert aligned(["a", "number"], [["long", "1"], ["", "20"]], {"number"}) == [
        "a     number", "long       1", "          20",
    ]  # fmt: skip


def test_no_text_is_cut_below_its_heading() -> None:
    head, text = ["a heading of 24 letters.", "x"], "abcdefghijklmnopqrstuvwxyz0123456789"
    top, line = aligned(head, [[text, "1"]], room=10)
    assert top == "a heading of 24 letters.  x"
    assert line == "abcdefghijk...0123456789  1"


def test_long_texts_of_any_table_lose_their_middle_and_numbers_none() -> None:
    table = pd.DataFrame(
        {
            "paths": pd.Series([2**70, 1], dtype=object),
            "name": ["features.layers.3.conv.branch", "head"],
            "mean": np.array([1 / 3, np.nan], dtype=np.float32),
            "block": pd.array([None, 7], dtype="Int64"),
            "reason": ["", None],
        }
    )
    assert plain_table(table).splitlines() == [
        "                 paths  name                             mean  block",
        "1180591620717411303424  features.layers.3.conv.branch  0.3333",
        "                     1  head                                       7",
    ]
    assert plain_table(table, room=55).splitlines()[1:] == [
        "1180591620717411303424  feature...branch  0.3333",
        "                     1  head                          7",
    ]
    assert plain_table(table, ["name", "none"], room=12).splitlines() == [
        "name", "featu...anch", "head",
    ]  # fmt: skip
    assert plain_table(table[:0]) == "no rows"


def test_intervals_and_names_that_are_typed_keep_their_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ensembles.cli.tables._terminal", lambda: 40)
    narrow = lesion_table([frame(ROWS)])
    assert "5.52 to 17.44" in narrow[1] and not any(" to..." in line for line in narrow)
    rows = [["a-very-long-name-that-is-typed", "a text that says a great deal about it"]]
    name, text = aligned(["name", "about"], rows, whole=["name"])[1].split("  ")
    assert name == rows[0][0] and "..." in text


def test_a_line_for_each_lesion() -> None:
    lines = lesion_table([frame(ROWS)])
    head = [name for name in lines[0].split("  ") if name.strip()]
    assert [name.strip() for name in head] == [
        "lesion", "blocks", "name", "correct", "total", "error %", "95 % interval", "loss",
    ]  # fmt: skip
    assert lines[1].startswith("none") and "10.00  5.52 to 17.44    " in lines[1]
    assert "delete        2" in lines[2] and "a.1 (adapted)" in lines[2] and "0.7500" in lines[2]
    assert "noise 3 s0.1 seed3 | 8x128" in lines[3] and lines[3].endswith("1.235e+06")


def test_measures_have_columns_and_lists_have_none() -> None:
    asked = ("top1", "loss", "kl", "classes", "agreement")
    lines = lesion_table([frame([*ROWS, (Reorder(((1, 2),)), 70, 50.0)], asked)])
    assert lines[0].split()[-4:] == ["loss", "kl", "agreement", "tau"]
    assert lines[1].split()[-3:] == ["0.2500", "0.1250", "0.9000"]
    assert lines[4].split()[-4:] == ["0.5000", "0.2500", "0.7000", "0.333"]
    alone = lesion_table([frame(ROWS, ("kl",))])
    assert alone[0].split() == ["lesion", "blocks", "name", "total", "kl"]


def test_several_networks_with_other_measures() -> None:
    lines = lesion_table([frame(ROWS), frame(ROWS, ("top1", "kl"))])
    assert lines[0].split()[0] == "model" and lines[0].split()[-2:] == ["loss", "kl"]
    assert lines[1].split()[-1] == "0.2500" and lines[4].split()[-1] == "0.1250"


def test_summary() -> None:
    assert lesion_summary(frame(ROWS)) == (
        "tiny: intact error 10.00 %; 2 lesions, median error 30.00 %, worst 40.00 % (delete 2)"
    )
    again = [(Intact().recalibrated(), 85, 30.0), *ROWS]
    assert "intact error 10.00 %; 2 lesions" in lesion_summary(frame(again))
    assert lesion_summary(frame(ROWS, ("agreement",))) == (
        "tiny: intact agreement 0.9000; 2 lesions, median agreement 0.7000, worst 0.6000 (delete 2)"
    )
    assert lesion_summary(frame(ROWS[1:2])) == (
        "tiny: 1 lesion, median error 40.00 %, worst 40.00 % (delete 2)"
    )
    nothing = frame(ROWS)
    nothing.loc[1:, "error"] = np.nan
    assert lesion_summary(nothing) == (
        "tiny: intact error 10.00 %; 2 lesions, none of them measured"
    )
    assert lesion_summary(frame(ROWS, ("classes",))) == "tiny: 2 lesions"
