"""What a stranger types first: nothing, half a name, a width that does not fit, Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from calls import called
from click.testing import CliRunner

from ensembles.cli import command_line, main
from ensembles.cli.study import study
from ensembles.cli.tables import aligned


@pytest.mark.parametrize("arguments", [[], ["study"], ["checkpoints"], ["store"], ["analyze"]])
def test_a_group_alone_prints_its_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    found = capsys.readouterr()
    assert stop.value.code == 0 and found.err == ""
    assert found.out.startswith("Usage: ensembles") and len(found.out.splitlines()) > 8
    assert "...\n" not in found.out.partition("Commands:")[2]  # no sentence is cut off


def test_a_shell_is_offered_names_by_a_process() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ensembles"], capture_output=True, text=True, check=False,
        env={**os.environ, "_ENSEMBLES_COMPLETE": "bash_complete", "COMP_CWORD": "3",
             "COMP_WORDS": "ensembles lesion --model resnet11"},
    )  # fmt: skip
    assert "plain,resnet110" in done.stdout.splitlines() and done.stderr == ""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("ensembles paths --checkpoint ran", "random"),
        ("ensembles lesion --dataset dig", "digits"),
        ("ensembles analyze infl", "influence"),
        ("ensembles rep", "reproduce"),
    ],
)
def test_a_shell_is_offered_names(
    words: str, offered: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_ENSEMBLES_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    _, out, err = called(capsys)
    assert f"plain,{offered}" in out.splitlines() and err == ""


def test_long_names_lose_their_middle_where_a_terminal_is_narrow() -> None:
    head = ["block", "name", "error %"]
    rows = [["1", "model.transformer.encoder.layers.0.attention", "12.5"], ["2", "short", "0.8"]]
    assert max(map(len, aligned(head, rows, ["error %"], room=40))) == 40
    first = aligned(head, rows, ["error %"], room=40)[1]
    assert "model.trans" in first and "...attention"[:6] in first and first.endswith("12.5")
    assert rows[0][1] in aligned(head, rows, ["error %"])[1]  # a pipe gets everything
    assert len(aligned(head, rows, ["error %"], room=10)[1]) < 40


def test_an_interrupted_study_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.toml"
    file.write_text('[[models]]\nname = "resnet20"\n[[data]]\nname = "digits"\n[[lesions]]\n')

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ensembles.studies.run", interrupted)
    monkeypatch.setattr(sys, "argv", ["ensembles", "study", "run", str(file)])
    done = CliRunner().invoke(study, ["run", str(file)])
    assert done.exit_code == 130
    assert f"the same command goes on: ensembles study run {file}" in done.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["lesion"], "interrupted\n"),
        (["lesion", "--store", "x.db"], "in the store, and the same command goes on\n"),
        (["checkpoints", "add", "--store", "folder"], "interrupted\n"),
    ],
)
def test_an_interrupted_sweep_says_what_is_kept(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("ensembles.cli._command_ended", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 130 and capsys.readouterr().err.endswith(told)


def test_a_figure_that_is_replaced_is_told_and_the_summary_comes_last(
    tmp_path: Path, weights: str, opened_once: None
) -> None:
    figure = tmp_path / "x.png"
    arguments = ["lesion", "--model", "resnet20", "--checkpoint", weights, "--dataset", "digits",
                 "--limit", "4", "--blocks", "1-2", "--plot", str(figure),
                 "--width", "5", "--title", "A title", "--label", "ours"]  # fmt: skip
    once = CliRunner().invoke(command_line, arguments)
    again = CliRunner().invoke(command_line, arguments)
    assert f"wrote {figure}\n" in once.output
    assert f"wrote {figure}, in place of the one that was there" in again.output
    lines = again.output.strip().splitlines()
    assert lines[-1].startswith("ours: intact error")
    from PIL import Image

    with Image.open(figure) as drawn:
        assert drawn.width == 5 * 300
    wrong = CliRunner().invoke(command_line, [*arguments, "--label", "two"])
    assert "2 labels for 1 networks" in wrong.output


def test_paths_of_several_networks_stand_in_one_table_and_figure(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        command_line,
        ["paths", "--model", "resnet20", "--model", "preresnet20", "--checkpoint", "random",
         "--checkpoint", "random:1", "--dataset", "digits", "--images", "2", "--signs", "2",
         "--plot", str(tmp_path / "p.svg"), "--out", str(tmp_path / "p.csv")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    text = (tmp_path / "p.svg").read_text(encoding="utf-8")
    assert "resnet20" in text and "preresnet20" in text
    assert (tmp_path / "p-logits.svg").exists()
    import ensembles

    frame = ensembles.read_frame(tmp_path / "p.csv")
    assert list(frame["model"].unique()) == ["resnet20", "preresnet20"]


def test_what_is_wrong_in_a_word_is_refused_before_anything_is_opened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(
        "ensembles.checkpoints.subject.load", lambda *given, **_: opened.append(given)
    )
    for arguments in (["paths", "--at", "nowhere"], ["lesion", "--plan", "nowhere.csv"]):
        code, _, err = called(capsys, *arguments)
        assert code == 2 and "nowhere" in err and not opened
