"""Networks of equal size from their training to the report, tiny and for one epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ensembles
from ensembles.cli import main
from ensembles.errors import UsageError
from ensembles.reproduction import family_claims as judged
from ensembles.reproduction.family_plan import FamilyPlan, plan_for
from ensembles.reproduction.judgements import Frames, claim_rows
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.request import Request
from ensembles.reproduction.scale import FULL, QUICK
from ensembles.studies import parse_study, read_study, status, study_text
from ensembles.tables import read_frame

pytest.importorskip("lightning")
TINY = replace(QUICK, images=8, path_images=1, signs=2, samples=2)
ASKED = {
    "parameters": 2_000, "depths": (8, 14), "families": ("preresnet", "plain"), "seeds": 2,
    "epochs": 1, "limit": 32, "scale": TINY, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("family")


@pytest.fixture(scope="module")
def networks(folder: Path) -> pd.DataFrame:
    return ensembles.family(**ASKED, out=folder)  # type: ignore[arg-type]


def test_each_network_is_trained_lesioned_and_expanded(networks: pd.DataFrame) -> None:
    assert len(networks) == 8
    assert (abs(networks["parameters"] / 2_000 - 1) <= 0.02).all()
    assert set(networks["total"]) == {8}
    assert (networks["train_seconds"] > 0).all() and (networks["answer_seconds"] > 0).all()
    residual = networks[networks["family"] == "preresnet"].sort_values(["seed", "depth"])
    assert list(residual["paths"].map(int)) == [2**3, 2**6] * 2
    assert (residual["rms_last"] <= residual["depth"]).all()
    assert (residual["multiplicity"] <= residual["paths"].map(int)).all()
    assert (residual["cancellation"] >= 1 - 1e-6).all()
    plain = networks[networks["family"] == "plain"]
    assert (plain["rms_median"] == plain["depth"]).all() and set(plain["paths"].map(int)) == {1}


def test_everything_is_written(networks: pd.DataFrame, folder: Path) -> None:
    depths = read_frame(folder / "frames" / "family-depths.csv")
    assert list(depths["seeds"]) == [2] * 4
    means = networks.groupby(["family", "depth"])["error"].mean().to_numpy()
    assert np.allclose(depths.sort_values(["family", "depth"])["error"], means)
    claims = read_frame(folder / "claims.csv")
    assert set(claims["verdict"]) <= {"holds", "does not hold", "not measured"}
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "ensembles family --dataset digits --parameters 2000 --depths 8,14 --seeds 2" in text
    assert "Deeper or wider: networks of equal size" in text
    assert (folder / "figures" / "figure-family.svg").exists()


def test_it_is_a_study(networks: pd.DataFrame, folder: Path) -> None:
    study = read_study(folder / "study.toml")
    assert len(study.models) == 8
    assert parse_study(study_text(study), name="x") == study
    state = status(study, folder / "results.db")
    assert len(study.units()) == len(state) == 8 * 2 + 4 * 2
    assert set(state["state"]) == {"done"}


def test_a_second_run_goes_on_and_a_third_trains_nothing(
    networks: pd.DataFrame, folder: Path
) -> None:
    said: list[str] = []
    again = ensembles.family(**ASKED, out=folder, report=said.append)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(again, networks)
    assert sum("already trained" in line for line in said) == 8
    more = {**ASKED, "seeds": 3, "train": False}
    left = ensembles.family(**more, out=folder)  # type: ignore[arg-type]
    assert len(left) == 8
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "seed 2 is not trained yet" in text


def test_the_command(
    folder: Path, networks: pd.DataFrame, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("ensembles.reproduction.scale.QUICK", TINY)  # what is measured already
    asked = ["family", "--parameters", "2k", "--depths", "8,14", "--seeds", "2", "--epochs", "1"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--limit", "32", "--quick", "--trained", "--out", str(folder)])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "not measured  The gain ends at some depth: 2 depths of preresnet measured, 3 are" in out


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--parameters", "many"], "--parameters many: expected a number, such as 250k"),
        (["--depths", "8,x"], "--depths 8,x: expected whole numbers"),
        (["--depths", "9"], "preresnet networks have 8, 14, 20"),
        (["--depths", "8,8"], "depths 8, 8: expected one or more, each once"),
        (["--families", "resnet"], "family 'resnet' is unknown"),
    ],
)
def test_wrong_usage_is_a_line(
    asked: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["family", *asked, "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_cheap_networks_come_first() -> None:
    plan = FamilyPlan(parameters=2_000, depths=(14, 8), seeds=2)
    order = [(one.network.depth, one.seed) for one in plan.members(plan.networks(10, 3))]
    assert order == [(8, 0), (8, 0), (14, 0), (14, 0), (8, 1), (8, 1), (14, 1), (14, 1)]


def test_what_a_reproduction_asks_for() -> None:
    assert plan_for(Request()) == FamilyPlan()
    assert plan_for(Request(scale=QUICK)).parameters == 2_000
    assert FamilyPlan().recipe_for("digits") == "digits"
    assert FamilyPlan().recipe_for("cifar10") == "short"
    assert FULL.images is None
    with pytest.raises(UsageError, match="0 seeds; expected 1 to 1000"):
        FamilyPlan(seeds=0)


# Claims, on tables whose answer is known


def table(errors: dict[int, tuple[float, ...]], family: str = "preresnet") -> pd.DataFrame:
    rows = [
        {"family": family, "depth": depth, "width": 200 // depth, "error": error,
         "train_error": 0.0, "median_rise": 1 / depth, "rms_median": 4.0}
        for depth, values in errors.items()
        for error in values
    ]  # fmt: skip
    return pd.DataFrame(rows)


def verdicts(*tables: pd.DataFrame) -> dict[str, str]:
    frames = Frames()
    frames["networks"] = pd.concat(tables, ignore_index=True)
    rows = claim_rows("family", judged.family_claims(), frames)
    return {text.split()[0] + " " + text.split()[-1]: verdict for text, verdict in
            zip(rows["claim"], rows["verdict"], strict=True)}  # fmt: skip


def test_criteria_decide() -> None:
    better = table({8: (0.05, 0.051, 0.052), 14: (0.03, 0.031, 0.03), 56: (0.03, 0.029, 0.031)})
    worse = table({8: (0.02, 0.021, 0.02), 14: (0.03, 0.03, 0.031), 56: (0.09, 0.092, 0.09)})
    plain = worse.assign(family="plain")
    assert verdicts(better, plain) == {
        "At less": "holds",
        "The depth": "holds",
        "Wide ones": "holds",
        "Of worse": "holds",
        "At network": "holds",
        "The effective": "holds",
        "Without not": "holds",
        "One parameters": "not measured",
    }
    assert verdicts(worse, plain) == {
        "At less": "does not hold",
        "The depth": "does not hold",
        "Wide ones": "holds",
        "Of worse": "does not hold",
        "At network": "holds",
        "The effective": "holds",
        "Without not": "does not hold",
        "One parameters": "not measured",
    }


def test_a_gain_that_goes_on_has_not_ended() -> None:
    found = judged._ends("preresnet", table({8: (0.3, 0.31), 14: (0.2, 0.21), 20: (0.1, 0.11)}))
    assert not found.holds and "from 14 to 20 +10.00 points" in found.ours


def test_margins_of_one_point() -> None:
    near = table({14: (0.035, 0.0351, 0.035), 56: (0.03, 0.03, 0.0301)})
    far = table({14: (0.055, 0.0551, 0.055), 56: (0.03, 0.03, 0.0301)})
    assert judged._rivals("preresnet", near).holds
    assert not judged._rivals("preresnet", far).holds


def test_five_layers_against_one() -> None:
    found = judged._layers(table({2: (0.04, 0.041, 0.04), 6: (0.03, 0.031, 0.03)}, "perceptron"))
    assert found.holds and found.ours.endswith("+1.00 points")


def test_one_seed_decides_nothing_between_depths() -> None:
    with pytest.raises(NotMeasured, match="1 network of depth 14; two seeds are needed"):
        judged._ends("preresnet", table({8: (0.3,), 14: (0.2,), 20: (0.1,)}))
    unlearned = table({8: (0.3,), 14: (0.2,)}).assign(train_error=0.5)
    with pytest.raises(NotMeasured, match="0 of 2 networks have memorised"):
        judged._memorised("preresnet", unlearned)
