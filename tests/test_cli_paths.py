"""`ensembles paths`, as a person and a script meet it."""

from __future__ import annotations

import json
import math
import re
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from calls import Call, called
from torch import Tensor, nn

from ensembles import checkpoints
from ensembles.tables import read_frame


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], opened_once: None) -> Call:
    """Run `ensembles paths`; returns exit status, standard output and standard error."""

    return partial(called, capsys, "paths")


@pytest.fixture
def small(weights: str) -> list[str]:
    """Arguments for a quick analysis of 9 blocks."""
    return [
        "--model", "resnet20", "--checkpoint", weights, "--dataset", "digits",
        "--images", "2", "--signs", "2",
    ]  # fmt: skip


def rows(text: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(text)["rows"]
    return found


def test_the_table_has_a_line_for_each_length(call: Call, small: list[str]) -> None:
    code, out, err = call(*small)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == [
        "at", "length", "paths", "gradient_coherent", "gradient_rms", "gradient_rms_se",
    ]  # fmt: skip
    assert [line.split()[:3] for line in lines[1:]] == [
        ["input", str(k), str(math.comb(9, k))] for k in range(10)
    ]
    assert "effective paths, coherent: 9" in err and "effective paths, rms: 9" in err
    assert re.search(r"lengths (\d) to (\d), median \d \(weight layers \d+ to \d+, median", err)
    assert "heavy tails" not in err and "drawn paths" not in err
    assert "published" not in err
    assert "the sum over all lengths differs by" in err


def test_the_drawn_paths_alone_and_beside_the_exact_ones(call: Call, small: list[str]) -> None:
    _, out, err = call(*small, "--method", "sampled", "--samples", 4)
    assert out.split("\n")[0].split()[3:] == [
        "gradient_mean", "gradient_mean_low", "gradient_mean_high",
    ]  # fmt: skip
    assert "effective paths, mean:" in err and "differs by" not in err
    _, out, err = call(*small, "--method", "all", "--samples", 4, "--sampling", "weighted")
    assert {"gradient_coherent", "gradient_rms", "gradient_mean"} < set(out.split("\n")[0].split())
    assert re.search(r"the RMS of the drawn paths is \d+ % .* of that of all paths", err)


def test_the_seed_decides_the_draws_and_nothing_else(call: Call, small: list[str]) -> None:
    first, again, other = (rows(call(*small, "--seed", seed, "--json")[1])[4] for seed in (1, 1, 2))
    assert first == again
    assert first["gradient_rms"] != other["gradient_rms"]
    assert first["gradient_coherent"] == other["gradient_coherent"]


def test_signs_can_be_left_out(call: Call, small: list[str]) -> None:
    _, out, _ = call(*small, "--signs", 0)
    assert out.split("\n")[0].split()[3:] == ["gradient_coherent"]


def test_the_logits_and_their_classes(call: Call, small: list[str]) -> None:
    code, out, err = call(*small, "--direction", "logits")
    assert code == 0 and len(out.splitlines()) == 11
    assert out.split()[:5] == ["class", "length", "paths", "logit_norm", "accuracy_up_to"]
    assert "effective paths, logits:" in err
    _, out, _ = call(*small, "--direction", "logits", "--per-class", "--json")
    names = [row["class"] for row in rows(out)]
    assert names[:10] == ["all"] * 10 and len(set(names)) == 3


def test_ranges_of_lengths(call: Call, small: list[str]) -> None:
    code, out, _ = call(*small, "--between", "0-3", "--between", "4-4", "--json")
    assert code == 0
    assert [(r["first"], r["last"], r["paths"]) for r in rows(out)] == [(0, 3, 130), (4, 4, 126)]
    code, out, _ = call(*small, "--between", "0-3", "--per-class")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0 and lines[0] == ["class", "first", "last", "paths", "accuracy"]
    assert lines[1][:4] == ["all", "0", "3", "130"] and len(lines) == 4


def test_of_several_places_the_first_is_told_of(call: Call, small: list[str]) -> None:
    _, _, err = call(*small, "--at", "blocks", "--signs", 0)
    assert "effective paths (block 1), coherent" in err


def test_the_logits_are_drawn_beside_a_gradient_at_a_block(
    call: Call, small: list[str], tmp_path: Path
) -> None:
    assert call(*small, "--at", "block 8", "--plot", tmp_path / "a.svg")[0] == 0
    assert (tmp_path / "a-logits.svg").exists()


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("first", ["block 1"]),
        ("block 9", ["block 9"]),
        ("blocks", [f"block {i}" for i in range(1, 10)]),
        ("parameters 9", ["parameters 9"]),
    ],
)
def test_places(call: Call, small: list[str], place: str, names: list[str]) -> None:
    code, out, _ = call(*small, "--at", place, "--json")
    assert code == 0
    assert list(dict.fromkeys(row["at"] for row in rows(out))) == names


@pytest.mark.parametrize(
    "options",
    [["--precision", "fp64"], ["--engine", "general"], ["--device", "cpu"]],
    ids=lambda options: options[0],
)
def test_other_ways_to_compute_agree(call: Call, small: list[str], options: list[str]) -> None:
    plain = rows(call(*small, "--signs", 0, "--json")[1])
    other = rows(call(*small, "--signs", 0, "--json", *options)[1])
    for a, b in zip(plain, other, strict=True):
        assert a["gradient_coherent"] == pytest.approx(b["gradient_coherent"], rel=1e-3)


def test_batch_statistics_give_another_network(call: Call, small: list[str]) -> None:
    plain = rows(call(*small, "--json")[1])[0]
    batch = rows(call(*small, "--statistics", "batch", "--json")[1])[0]
    assert plain["gradient_coherent"] != pytest.approx(batch["gradient_coherent"], rel=1e-3)


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_the_table_is_written(call: Call, small: list[str], tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"paths{ending}"
    code, out, err = call(*small, "--out", path)
    assert (code, out) == (0, "") and f"wrote {path}" in err
    frame = read_frame(path)
    assert [int(number) for number in frame["paths"]] == [math.comb(9, k) for k in range(10)]
    assert frame.attrs["provenance"]["images"] == 2


def test_plot_writes_both_figures(call: Call, small: list[str], tmp_path: Path) -> None:
    path = tmp_path / "spectrum.svg"
    code, _, err = call(*small, "--plot", path)
    assert code == 0
    for file in (path, tmp_path / "spectrum-logits.svg"):
        assert file.read_text().lstrip().startswith("<?xml") and f"wrote {file}" in err


def test_plot_without_a_file_has_a_name_of_its_own(
    call: Call, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*small, "--direction", "logits", "--plot")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["paths.png"]
    assert (tmp_path / "paths.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--direction", "sideways"], 2, "'sideways' is not one of 'gradient', 'logits'"),
        (["--method", "exakt"], 2, "'exakt' is not one of 'exact', 'sampled', 'all'"),
        (["--sampling", "best"], 2, "'best' is not one of 'uniform', 'weighted'"),
        (["--statistics", "none"], 2, "'none' is not one of 'running', 'batch'"),
        (["--precision", "bf16"], 2, "'bf16' is not one of 'auto', 'fp32', 'fp64'"),
        (["--engine", "slow"], 2, "'slow' is not one of 'fast', 'general'"),
        (["--device", "gpu"], 2, "device 'gpu'; expected auto, cpu"),
        (["--images", "0"], 2, "0 images; expected at least 1"),
        (["--signs", "-1"], 2, "-1 draws of signs; expected 0 for none, or at least 2"),
        (["--samples", "0"], 2, "0 samples of each length; expected at least 1"),
        (["--samples", "many"], 2, "'many' is not a valid integer"),
        (["--at", "block 10"], 2, "the place 'block 10': the network has blocks 1 to 9"),
        (["--at", "output"], 2, "expected input, first, blocks, 'block 3' or 'parameters 3'"),
        (["--per-class"], 2, "rows for each class are of logits; expected direction logits"),
        (
            ["--direction", "logits", "--at", "block 3"],
            2,
            "the place 'block 3' is one of gradients; expected direction gradient",
        ),
        (["--between", "3"], 2, "--between 3: expected two lengths, such as 2-8"),
        (["--between", "3-10"], 2, "lengths 3 to 10; expected a range within 0 to 9"),
        (["--between", "0-3", "--plot"], 2, "--between gives a table without a figure"),
        (["--limit", "0"], 2, "limit"),
        (["--dataset", "digit"], 1, "did you mean digits"),
        (["--dataset", "/no/such/folder"], 1, "/no/such/folder"),
        (["--out", "paths.xlsx"], 2, ".xlsx"),
        (["--out", "/no/such/folder/x.csv"], 1, "there is no folder /no/such/folder"),
        (["--plot", "paths.gif"], 2, ".gif"),
        (["--block-names", "layer9.*"], 2, "matches no module"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_gets_one_line_and_a_status(
    call: Call, small: list[str], options: list[str], status: int, message: str
) -> None:
    code, out, err = call(*small, *options)
    assert (code, out) == (status, "")
    assert err.startswith("ensembles: ") and err.count("\n") == 1
    assert message in err


def test_a_plain_network_has_one_path(call: Call) -> None:
    code, out, err = call("--model", "vgg15", "--images", 1)
    assert (code, out) == (1, "") and err.count("\n") == 1
    assert "is one path (its 15 blocks are plain): no block has a shortcut" in err


class Rounded(nn.Module):
    """A residual block whose branch has no derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.conv(x) > 0).to(x.dtype)


def test_a_block_that_is_not_differentiable_is_named(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, card = checkpoints.load("resnet110")
    net = nn.Sequential(Rounded(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    monkeypatch.setattr("ensembles.checkpoints.subject.load", lambda *_, **__: (net.eval(), card))
    code, out, err = call("--images", 1, "--force")
    assert (code, out) == (1, "") and err.count("\n") == 1
    assert "block 1" in err and "is not differentiable" in err


def test_a_folder_without_images_is_refused(call: Call, small: list[str], tmp_path: Path) -> None:
    (tmp_path / "test" / "cat").mkdir(parents=True)
    code, out, err = call(*small, "--dataset", tmp_path)
    assert (code, out) == (1, "") and err.count("\n") == 1
    assert "no images" in err


def test_outputs_are_checked_before_the_work(
    call: Call, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_args: object, **_options: object) -> pd.DataFrame:
        raise AssertionError("the analysis was started")

    monkeypatch.setattr("ensembles.analyses.members.paths.paths", never)
    assert call(*small, "--out", "/no/such/folder/x.csv")[0] == 1
    assert call(*small, "--plot", "paths.gif")[0] == 2
