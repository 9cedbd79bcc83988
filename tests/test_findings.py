"""The page of what the analyses say, and the program that makes its figures and numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from calls import LoadProgram
from PIL import Image

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.cli import main

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "findings.md"
MOST_BYTES = 400_000


@pytest.fixture
def program(load_program: LoadProgram, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    findings = load_program("findings")
    monkeypatch.setattr(findings, "CASES", findings.CASES)  # which tests change
    monkeypatch.setattr(findings, "DOCS", tmp_path)
    monkeypatch.setattr(findings, "PAGE", tmp_path / "page.md")
    (tmp_path / "figures").mkdir()
    (tmp_path / "page.md").write_text(
        "<!-- criticality -->\nold\n<!-- end of criticality -->\nkept\n"
    )
    return findings


def test_the_page_has_the_figure_and_the_commands_of_each_part() -> None:
    text = PAGE.read_text(encoding="utf-8")
    marks = re.findall(r"<!-- (\w+) -->", text)
    assert len(marks) == len(set(marks)) > 5
    for mark in marks:
        part = text[text.index(f"<!-- {mark} -->") : text.index(f"<!-- end of {mark} -->")]
        assert part.count("\n| ") >= 2, mark
        if mark == "deletions":
            continue
        assert mark in ANALYSES.names()
        assert f"`ensembles analyze {mark} --model " in part
        pictures = list((ROOT / "docs" / "figures").glob(f"findings-{mark}*.png"))
        assert pictures
        for picture in pictures:
            assert f"(figures/{picture.name})" in text
            assert picture.stat().st_size < MOST_BYTES


def test_the_commands_of_the_page_are_those_of_the_program(program: Any) -> None:
    text = PAGE.read_text(encoding="utf-8")
    for analysis, cases in program.CASES.items():
        known = {case.command(analysis) for case in cases}
        found = set(re.findall(rf"`(ensembles analyze {analysis} [^`]+)`", text))
        assert found and found <= known
        settings = {one.name for one in ANALYSES.get(analysis).options.settings()}
        assert {name for case in cases for name in case.options} <= settings


def test_a_network_is_measured_drawn_and_told_of(program: Any, tmp_path: Path) -> None:
    case = program.Case("vgg15", 4, {"trials": 1})
    program.CASES = {"criticality": (case,)}
    told = "ensembles analyze criticality --model vgg15 --limit 4 --trials 1"
    assert case.command("criticality") == told
    program.measure(tmp_path, "criticality", case)
    program.draw(tmp_path, "criticality")
    with Image.open(tmp_path / "figures" / "findings-criticality-vgg15.png") as picture:
        assert picture.width > 300
    program.put("criticality", program.said(tmp_path, "criticality"))
    page = (tmp_path / "page.md").read_text()
    assert page.startswith(
        "<!-- criticality -->\n| command | what it says |\n|---|---|\n| `ensembles"
    )
    assert page.endswith("\n<!-- end of criticality -->\nkept\n") and "old" not in page
    out = tmp_path / "by-command.csv"
    with pytest.raises(SystemExit) as stop:
        main([*case.command("criticality").split()[1:], "--out", str(out)])
    assert stop.value.code == 0
    columns = ["block", "recovered", "cosine", "loss_rise"]
    ours = ensembles.read_frame(tmp_path / "criticality-vgg15.csv")[columns]
    pd.testing.assert_frame_equal(ensembles.read_frame(out)[columns], ours)


def test_networks_that_are_not_measured_keep_their_rows_and_pictures(
    program: Any, tmp_path: Path
) -> None:
    other, case = program.Case("vit12", 4), program.Case("vgg15", 4, {"trials": 1})
    program.CASES = {"criticality": (other, case)}
    kept = f"| `{other.command('criticality')}` | what was said of it |"
    page = tmp_path / "page.md"
    page.write_text(f"<!-- criticality -->\n{kept}\n<!-- end of criticality -->\n")
    program.measure(tmp_path, "criticality", case)
    program.draw(tmp_path, "criticality")
    drawn = [picture.name for picture in (tmp_path / "figures").iterdir()]
    assert drawn == ["findings-criticality-vgg15.png"]
    program.put("criticality", program.said(tmp_path, "criticality"))
    rows = page.read_text().splitlines()
    assert rows[3] == kept and rows[4].startswith(f"| `{case.command('criticality')}` | init: ")


def test_each_network_has_a_picture_and_a_command(program: Any) -> None:
    found = [program.picture_of("depth", name).name for name in ("vit12", program.SMOLLM)]
    assert found == ["findings-depth-vit12.png", "findings-depth-smollm2-135m.png"]
    case = program.smollm(16, pairs=False, rows=1)
    assert case.command("interactions") == (
        "ensembles analyze interactions --model smollm2-135m --limit 4 --window 16 --no-pairs "
        "--rows 1"
    )


def test_what_has_no_place_on_the_page_is_said(program: Any) -> None:
    with pytest.raises(SystemExit, match="no mark <!-- spectra -->"):
        program.put("spectra", "")


def test_joint_deletions_stand_beside_sums(program: Any, tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    rows = [f"delete,{block} {block + 1},0.{block + 10}" for block in range(2, 14)]
    path.write_text("\n".join(["lesion,blocks,top1_error", "delete,1,0.4", *rows]))
    theirs = program.their_deletions(path)
    assert theirs["lesion"].tolist()[:2] == ["none", "delete"]
    assert len(theirs) == 55 + 12
    text = program.additivity(theirs, None)
    assert text.splitlines()[2].startswith("| all | 12 | ")
    text = program.additivity(theirs, theirs.assign(loss=theirs["error"] / 2))
    last = text.splitlines()[-1].split(" | ")
    assert last[0] == "| 2" and last[1] == last[5] == last[9] == "12"
    assert last[2] == last[6]
