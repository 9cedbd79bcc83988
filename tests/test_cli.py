"""The command line, as a person and a script meet it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from calls import called

import ensembles

CHECK_LIGHT = """
import sys
{statement}
heavy = ["torch", "torchvision", "timm", "seaborn", "matplotlib", "click", "lightning", "pandas"]
print(",".join(name for name in heavy if name in sys.modules))
"""


@pytest.fixture
def call(capsys, opened_once):
    """Run the command line; returns exit status, standard output and standard error."""

    return partial(called, capsys)


@pytest.fixture
def small(weights):
    """Arguments for a quick sweep."""
    return ["--model", "resnet20", "--checkpoint", weights, "--dataset", "digits", "--limit", "24"]


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_library_is_light():
    assert python(CHECK_LIGHT.format(statement="import ensembles")) == ""


def test_help_needs_nothing_heavy():
    statement = """
import contextlib, io
from ensembles.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
"""
    assert python(CHECK_LIGHT.format(statement=statement)) == "click"


@pytest.mark.parametrize(
    "command",
    [
        "lesion", "paths", "analyze", "analyze influence", "analyze paths", "export", "train",
        "inspect", "study run", "report", "reproduce", "models", "datasets", "checkpoints",
    ],
)  # fmt: skip
def test_help_of_a_command_needs_nothing_heavy(command):
    statement = f"""
import contextlib, io
from ensembles.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main([*{command.split()!r}, "--help"])
"""
    assert python(CHECK_LIGHT.format(statement=statement)) == "click"


def test_help_lists_every_command(call):
    code, out, _ = call("--help")
    assert code == 0
    for name in (
        "analyze", "checkpoints", "datasets", "export", "inspect", "lesion", "models", "paths",
        "report", "reproduce", "study", "train",
    ):  # fmt: skip
        assert re.search(rf"^  {name} ", out, re.MULTILINE)


@pytest.mark.parametrize(
    "command", ["checkpoints", "datasets", "inspect", "lesion", "models", "paths", "train"]
)
def test_every_command_has_help(call, command):
    code, out, _ = call(command, "--help")
    assert code == 0 and out.startswith(f"Usage: ensembles {command}")


def test_lesion_prints_the_intact_network_and_every_deletion(call, small):
    code, out, err = call("lesion", *small)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split()[:4] == ["lesion", "blocks", "name", "correct"]
    assert lines[1].startswith("none") and len(lines) == 11
    assert [line.split()[1] for line in lines[2:]] == [str(block) for block in range(1, 10)]
    assert "resnet20: intact error" in err and "9 lesions, median error" in err


def test_lesion_writes_the_table_and_the_figure(call, small, tmp_path):
    table, figure = tmp_path / "lesion.csv", tmp_path / "lesion.svg"
    code, out, err = call("lesion", *small, "--out", table, "--plot", figure)
    assert (code, out) == (0, "")
    assert f"wrote {table}" in err and f"wrote {figure}" in err
    frame = pd.read_csv(table)
    wanted = "lesion count blocks block_names kendall_tau trial seed correct total error loss"
    assert list(frame.columns[:11]) == wanted.split()
    assert frame["lesion"].tolist() == ["none"] + ["delete"] * 9
    assert (frame["total"] == 24).all()
    assert figure.read_text().lstrip().startswith("<?xml")


def test_plot_without_a_file_has_a_name_of_its_own(call, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("lesion", *small, "--blocks", "2", "--plot")[0] == 0
    assert (tmp_path / "lesion.png").read_bytes().startswith(b"\x89PNG")


def test_json_goes_to_standard_output_alone(call, small):
    code, out, _ = call("lesion", *small, "--blocks", "2,5", "--json")
    rows = json.loads(out)["rows"]
    assert code == 0 and [row["blocks"] for row in rows] == ["", "2", "5"]


def test_both_engines_print_the_same_counts(call, small):
    arguments = ["lesion", *small, "--count", "2", "--trials", "3", "--json"]
    fast = json.loads(call(*arguments)[1])["rows"]
    slow = json.loads(call(*arguments, "--engine", "direct")[1])["rows"]
    assert [r["correct"] for r in fast] == [r["correct"] for r in slow]
    assert [r["blocks"] for r in fast] == [r["blocks"] for r in slow]


def test_random_lesions_are_the_same_again_and_grow(call, small):
    first = json.loads(call("lesion", *small, "--count", "2-3", "--trials", "2", "--json")[1])
    again = json.loads(call("lesion", *small, "--count", "2-3", "--trials", "3", "--json")[1])
    drawn = {(r["count"], r["trial"]): r["blocks"] for r in again["rows"][1:]}
    for row in first["rows"][1:]:
        assert drawn[row["count"], row["trial"]] == row["blocks"]


def test_reorderings_carry_their_tau(call, small):
    _, out, _ = call("lesion", *small, "--kind", "reorder", "--trials", "3", "--json")
    rows = json.loads(out)["rows"]
    assert [row["lesion"] for row in rows] == ["none"] + ["reorder"] * 3
    assert all(row["kendall_tau"] < 1 for row in rows[1:])


def test_duplicates_leave_out_what_changes_the_shape(call, small):
    rows = json.loads(call("lesion", *small, "--kind", "duplicate", "--json")[1])["rows"]
    assert [row["blocks"] for row in rows[1:]] == ["1", "2", "3", "5", "6", "8", "9"]


@pytest.mark.parametrize(
    ("kind", "options", "texts"),
    [
        ("scale", ["--factor", "0.25"], ["2 x0.25", "3 x0.25"]),
        ("noise", ["--strength", "0.2", "--seed", "4"], ["2 s0.2 seed4", "3 s0.2 seed4"]),
        ("mean", ["--reference-size", "20"], ["2 on 20 of train", "3 on 20 of train"]),
        ("reset", ["--initial", "WEIGHTS"], ["2", "3"]),
        ("randomize", ["--how", "permute"], ["2 seed0 permute", "3 seed0 permute"]),
        ("replace", ["--by", "1"], ["2<-1", "3<-1"]),
        ("repeat", ["--times", "3"], ["2 x3", "3 x3"]),
        ("reverse", [], ["2-3"]),
        ("shuffle", ["--seed", "1"], ["2-3 seed1"]),
        ("parallel", ["--mean", "--loops", "2"], ["2 3 mean x2"]),
        ("transplant", ["--source", "WEIGHTS"], ["2 from WEIGHTS", "3 from WEIGHTS"]),
        (
            "delete", ["--recalibrated", "1"],
            ["none | 1x128", "delete 2 | 1x128", "delete 3 | 1x128"],
        ),
    ],
)  # fmt: skip
def test_every_kind_has_its_settings(call, small, kind, options, texts):
    weights = small[small.index("--checkpoint") + 1]
    given = [weights if option == "WEIGHTS" else option for option in options]
    code, out, err = call("lesion", *small, "--kind", kind, *given, "--blocks", "2,3", "--json")
    assert code == 0, err
    rows = json.loads(out)["rows"]
    assert [row["blocks"].replace(weights, "WEIGHTS") for row in rows[1:]] == texts
    if kind in ("reset", "transplant"):  # its own weights: nothing changes
        assert len({row["correct"] for row in rows}) == 1


def test_metrics_are_columns(call, small):
    _, out, _ = call("lesion", *small, "--blocks", "2", "--metrics", "kl, agreement,ece", "--json")
    rows = json.loads(out)["rows"]
    assert {"correct", "error", "loss", "kl", "agreement", "ece"} <= set(rows[0])
    assert rows[0]["kl"] == 0 and rows[0]["agreement"] == 1 and rows[1]["kl"] > 0


def test_kinds_and_analyses_are_listed(call):
    code, out, _ = call("lesion", "--list")
    assert code == 0 and out.startswith("none ") and "\ntransplant " in out
    code, out, _ = call("analyze", "--list")
    names = [line.split()[0] for line in out.splitlines()]
    assert code == 0 and names[:2] == ["lesion", "paths"] and "influence" in names
    code, out, _ = call("analyze")
    assert code == 0 and "influence " in out


def test_influence_prints_its_table_and_its_correlations(call, small, tmp_path):
    table, figure, store = tmp_path / "a.csv", tmp_path / "a.svg", tmp_path / "a.db"
    arguments = ["analyze", "influence", *small, "--resamples", "20", "--store", store]
    code, out, err = call(*arguments, "--out", table, "--plot", figure)
    assert (code, out) == (0, "")
    assert f"wrote {table}" in err and f"wrote {figure}" in err and "correlates most with" in err
    frame = ensembles.read_frame(table)
    assert list(frame["block"]) == list(range(1, 10)) and frame.attrs["analysis"] == "influence"
    assert frame.attrs["store"]["known"] is False
    code, out, _ = call(*arguments)  # from the store
    assert code == 0 and out.split()[:4] == ["block", "name", "against", "influence"]
    assert "Rank correlation of proxies with damage (Spearman)" in out
    rows = json.loads(call(*arguments, "--json")[1])["rows"]
    assert rows[3]["against"] == "shortcut" and rows[3]["loss_rise"] is not None


def test_two_networks_in_one_analysis(call, small, weights):
    code, out, err = call("analyze", "influence", *small, "--checkpoint", weights, "--json")
    rows = json.loads(out)["rows"]
    assert code == 0 and len(rows) == 18 and len({row["model"] for row in rows}) == 1
    assert err.count("the shortcut is not the identity") == 2


def test_lesion_and_paths_are_analyses(call, small):
    code, out, _ = call("analyze", "lesion", *small, "--blocks", "1", "--json")
    assert code == 0 and len(json.loads(out)["rows"]) == 2
    code, out, _ = call("analyze", "paths", *small, "--signs", "0", "--images", "2", "--json")
    assert code == 0 and len(json.loads(out)["rows"]) == 10


def test_transitions_can_be_left_out(call, small):
    rows = json.loads(call("lesion", *small, "--skip-transitions", "--json")[1])["rows"]
    assert [row["blocks"] for row in rows[1:]] == ["1", "2", "3", "5", "6", "8", "9"]


def test_a_plan_is_replayed(call, small, tmp_path):
    plan = tmp_path / "plan.csv"
    plan.write_text("lesion,blocks\ndelete,2 5\nreorder,5-6\nduplicate,8\n")
    rows = json.loads(call("lesion", *small, "--plan", plan, "--json")[1])["rows"]
    found = [(row["lesion"], row["blocks"]) for row in rows]
    assert found == [("none", ""), ("delete", "2 5"), ("reorder", "5-6"), ("duplicate", "8")]


def test_several_networks_stand_in_one_table(call, small, weights, tmp_path):
    out = tmp_path / "both.json"
    figure = tmp_path / "both.png"
    code, _, err = call(
        "lesion", *small, "--model", "resnet20", "--checkpoint", weights,
        "--blocks", "1-2", "--out", out, "--plot", figure,
    )  # fmt: skip
    assert code == 0 and figure.exists()
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 6 and "model" in rows[0]
    assert err.count("intact error") == 2


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["lesion", "--model", "resnet111"], 1, "unknown model 'resnet111'; resnet has "),
        (["lesion", "--model", "vgg15b"], 1, "did you mean vgg15"),
        (["lesio"], 2, "no command 'lesio'; did you mean lesion?"),
        (["lesion", "--count", "0"], 2, "count"),
        (["lesion", "--blocks", "0"], 2, "block 0"),
        (["lesion", "--blocks", ""], 2, "blocks '': names none"),
        (["lesion", "--kind", "duplicate", "--blocks", "4"], 2, "cannot run twice in a row"),
        (["lesion", "--plan", "p.csv", "--count", "2"], 2, "found counts beside it"),
        (["lesion", "--image-size", "0"], 2, "image size 0 cannot be cut"),
        (["lesion", "--blocks", "10"], 2, "block 10: the network has blocks 1 to 9"),
        (["lesion", "--count", "12"], 2, "12"),
        (["lesion", "--kind", "remove"], 2, "lesion 'remove' is unknown; expected none, delete, "),
        (["lesion", "--kind", "delte"], 2, "did you mean delete?"),
        (
            ["lesion", "--kind", "delete", "--factor", "2"],
            2,
            "--factor is a setting of scale; delete",
        ),
        (["lesion", "--kind", "scale", "--factor", "a"], 2, "'a' is not a valid float"),
        (["lesion", "--kind", "transplant"], 2, "transplant needs the setting source"),
        (["lesion", "--kind", "reset"], 2, "--initial FILE, as `ensembles train --init` writes it"),
        (["lesion", "--kind", "reset", "--initial", "/no/x.safetensors"], 1, "/no/x.safetensors"),
        (["lesion", "--kind", "reverse", "--blocks", "3-5"], 2, "block 4"),
        (["lesion", "--metrics", "top1,los"], 2, "metric 'los' is unknown; expected top1"),
        (
            ["lesion", "--metrics", "perplexity"],
            2,
            "metric 'perplexity' has no meaning for the task",
        ),
        (["lesion", "--task", "languag"], 2, "did you mean language"),
        (["lesion", "--task", "language"], 2, "the task 'language' is for networks with ids"),
        (["lesion", "--reference", "digit", "--kind", "mean"], 1, "did you mean digits"),
        (["lesion", "--dataset", ""], 1, "no data set or folder ''"),
        (["analyze", "influenc"], 2, "analysis 'influenc' is unknown; expected lesion, paths"),
        (["analyze", "influence", "--span", "0"], 2, "a span of 0 blocks; expected 1 or more"),
        (["analyze", "influence", "--cosine", "last"], 2, "of a sequence; block 1"),
        (["export", "--blocks", "3", "--out", "x.onnx"], 2, "expected .safetensors or .pt2"),
        (["export", "--blocks", "99", "--out", "x.pt2"], 2, "the network has blocks 1 to 9"),
        (
            ["export", "--kind", "noise", "--blocks", "3", "--out", "x.pt2"],
            2,
            "evaluate it instead",
        ),
        (["export", "--blocks", "3", "--out", "/no/such/x.pt2"], 1, "there is no folder /no/such"),
        (["lesion", "--device", "gpu"], 2, "device 'gpu'; expected auto, cpu"),
        (["lesion", "--precision", "tf32", "--device", "cpu"], 2, "needs a CUDA device"),
        (["lesion", "--split", "tset"], 1, "tset"),
        (["lesion", "--dataset", "digit"], 1, "did you mean digits"),
        (["lesion", "--out", "result.xlsx"], 2, ".xlsx"),
        (["lesion", "--plot", "figure.gif"], 2, ".gif"),
        (["lesion", "--out", "/no/such/folder/x.csv"], 1, "there is no folder"),
        (["lesion", "--plan", "/no/plan.csv"], 2, "/no/plan.csv"),
        (["lesion", "--normalize", "imagnet"], 2, "did you mean imagenet"),
        (["lesion", "--block-names", "layer9.*"], 2, "matches no module"),
        (["lesion", "--block-kinds", "residul"], 2, "did you mean residual"),
        (["lesion", "--checkpoint", "/no/such/file.pt"], 1, "/no/such/file.pt"),
    ],
)
def test_bad_input_gets_one_line_and_a_status(call, weights, arguments, status, message):
    if arguments[0] in ("lesion", "analyze", "export") and "--model" not in arguments:
        arguments = [*arguments, "--model", "resnet20", "--limit", "20"]
        if "--checkpoint" not in arguments:
            arguments += ["--checkpoint", weights]
        if "--dataset" not in arguments:
            arguments += ["--dataset", "digits"]
    code, out, err = call(*arguments)
    assert (code, out) == (status, "")
    assert err.startswith("ensembles: ") and err.count("\n") == 1
    assert message in err


def test_an_output_that_cannot_be_written_is_found_before_the_sweep(call, small, monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("the sweep was started")

    monkeypatch.setattr("ensembles.analyses.members.lesion.lesion", never)
    code, _, err = call("lesion", *small, "--out", "/no/such/folder/x.csv")
    assert code == 1 and "there is no folder /no/such/folder" in err


def test_a_network_for_another_number_of_classes_is_refused(call, tmp_path):
    path = tmp_path / "three.pt"
    torch.save(ensembles.create_model("resnet20", num_classes=3).state_dict(), path)
    code, _, err = call(
        "lesion", "--model", "resnet20", "--checkpoint", path, "--dataset", "digits", "--limit", 20
    )
    assert code == 1 and "the data have a label 9, the network 3 classes" in err


def test_images_of_fewer_classes_than_the_network_has_are_refused(call, tmp_path):
    path = tmp_path / "hundred.pt"
    torch.save(ensembles.create_model("resnet20", num_classes=100).state_dict(), path)
    arguments = ["lesion", "--model", "resnet20", "--checkpoint", path, "--dataset", "digits"]
    code, out, err = call(*arguments, "--limit", 20, "--blocks", 1)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "the network has 100 classes, digits test has 10 (0, 1, 2, ...)" in err
    assert call(*arguments, "--limit", 20, "--blocks", 1, "--force")[0] == 0


def test_drops_of_roads_are_drawn(call, tmp_path):
    path, figure = tmp_path / "fractal.pt", tmp_path / "roads.svg"
    torch.save(ensembles.create_model("fractalnet20").state_dict(), path)
    code, _, err = call(
        "lesion", "--model", "fractalnet20", "--checkpoint", path, "--dataset", "digits",
        "--limit", 4, "--kind", "drop", "--blocks", "1", "--plot", figure,
    )  # fmt: skip
    assert code == 0 and "Block, and its dropped branch" in figure.read_text()
    assert "3 lesions" in err


def test_debug_shows_the_traceback(call):
    code, _, err = call("--debug", "lesion", "--model", "resnet111")
    assert code == 1 and "Traceback" in err and err.splitlines()[-1].startswith("ensembles: ")


def test_a_fault_of_our_own_is_one_line_too(call, small, monkeypatch):
    def broken(*_args, **_kwargs):
        raise ValueError("something\nodd")

    monkeypatch.setattr("ensembles.analyses.members.lesion.lesion", broken)
    code, _, err = call("lesion", *small)
    assert code == 1
    assert err == (
        "ensembles: this is a fault of the program, please report it (ValueError: something odd); "
        "--debug shows where\n"
    )


SLOW = """
import sys, time
from ensembles.cli import main
from ensembles.engine.shared import SharedPrefixes

def run(self, *arguments):
    print("started", file=sys.stderr, flush=True)
    time.sleep(60)

SharedPrefixes.run = run
main(sys.argv[1:])
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_an_interruption_ends_with_130(small):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "lesion", *small],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, "", "ensembles: interrupted")


@pytest.mark.parametrize(
    ("option", "message"),
    [("--store", "is the file of --out"), ("--checkpoint", "is the file of what is read from")],
)
def test_what_is_written_is_no_file_that_is_used(call, option, message, tmp_path, weights):
    path = tmp_path / "x.csv"
    path.write_bytes(Path(weights).read_bytes() if option == "--checkpoint" else b"")
    before = path.read_bytes()
    given = [option, path, "--out", tmp_path / "." / "x.csv"]
    code, out, err = call("lesion", "--model", "resnet20", *given)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err
    assert path.read_bytes() == before


def shell(command):
    """Run a command line in a shell; the exit status and both outputs."""
    program = f"{sys.executable} $FLAGS -c 'from ensembles.cli import main; main()'"
    whole = f'ensembles() {{ {program} "$@"; }}; {command}'
    done = subprocess.run(
        ["bash", "-c", whole], capture_output=True, text=True, check=False, errors="replace"
    )
    return done.returncode, done.stdout, done.stderr


def test_help_is_there_where_python_leaves_out_its_texts():
    for command in ("", "store check"):
        code, out, _ = shell(f"FLAGS=-OO; ensembles {command} --help")
        plain = shell(f"ensembles {command} --help")[1]
        assert code == 0 and out == plain and len(out) > 300
