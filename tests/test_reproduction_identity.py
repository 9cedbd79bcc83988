"""The identity-mapping study, on shallow networks and few images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ensembles.cli import main
from ensembles.reproduction.bench import Bench
from ensembles.reproduction.experiments import EXPERIMENTS, choose
from ensembles.reproduction.experiments import identity_mappings as study
from ensembles.reproduction.judgements import Frames, claim_rows
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.request import Request
from ensembles.reproduction.scale import FULL, QUICK
from ensembles.store import Store

pytest.importorskip("lightning")
BLOCKS = ("original", "exclusive-gating", "bn-after-add")
SHORT = study.Training(depth=20, epochs=1, recipe="digits", limit=32, blocks=BLOCKS)
SCALE = replace(QUICK, images=8, path_images=1, signs=2, samples=2)


def measured(folder: Path) -> tuple[Frames, list[str]]:
    said: list[str] = []
    with Store(folder / "results.db") as store:
        bench = Bench(Request(scale=SCALE, device="cpu"), store, said.append)
        experiment = study.IdentityMappings(SHORT)
        [found] = bench.measure([experiment.parts(bench)])
        return experiment.frames(found, bench), said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def frames(folder: Path) -> Frames:
    return measured(folder)[0]


def test_each_network_is_trained_lesioned_and_expanded(frames: Frames) -> None:
    assert frames.missing == {}
    for block in BLOCKS:
        deletions = frames[f"deletions {block}"]
        assert list(deletions["lesion"]) == ["none"] + ["delete"] * 9
        assert set(deletions["total"]) == {8}
        paths = frames[f"paths {block}"]
        assert list(paths["length"]) == list(range(10))
        assert paths["paths"].map(int).sum() == 2**9
    summary = frames["summary"]
    assert list(summary["block"]) == list(BLOCKS)
    assert list(summary["published"]) == [0.0661, 0.087, 0.0817]
    assert (summary["low"] <= summary["error"]).all()
    assert (summary["error"] <= summary["high"]).all()


def test_a_second_run_trains_nothing_again(frames: Frames, folder: Path) -> None:
    again, said = measured(folder)
    assert again["summary"].equals(frames["summary"])
    trained = [line for line in said if "epoch" in line or "already trained" in line]
    assert len(trained) == 3
    assert all("already trained" in line for line in trained)


def test_pictures_and_table(frames: Frames) -> None:
    deletions, gradients = study.IdentityMappings().draw(frames)
    assert [len(figure.figure.axes) for figure in (deletions, gradients)] == [3, 3]
    labels = {text.get_text() for text in gradients.figure.axes[2].get_legend().get_texts()}
    assert labels > {"original", "bn-after-add", "95% interval of lengths"}
    [table] = study.IdentityMappings().compare(frames)
    assert list(table.frame["published, 110 layers %"].round(2)) == [6.61, 8.7, 8.17]


def test_claims_wait_for_all_their_blocks(frames: Frames) -> None:
    first, second = claim_rows("", study.IdentityMappings().claims(), frames).to_dict("records")
    assert first["verdict"] == "not measured"
    assert first["note"].startswith("not trained: constant-scaling, shortcut-gating,")
    assert "relu-before-add" in second["note"]


def test_the_lowest_error_decides(frames: Frames) -> None:
    summary = frames["summary"].assign(error=[0.1, 0.3, 0.2], low=0.05, high=0.35)
    known = Frames()
    known["summary"] = summary
    assert study._lowest("original", BLOCKS, known).holds
    assert not study._lowest("bn-after-add", BLOCKS, known).holds
    known["summary"] = summary.assign(error=0.1)
    assert not study._lowest("original", BLOCKS, known).holds


@pytest.mark.slow
def test_one_command_writes_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "training_for", lambda _: replace(SHORT, blocks=BLOCKS[::2]))
    monkeypatch.setattr("ensembles.reproduction.scale.QUICK", SCALE)
    asked = ["reproduce", "--figure", "identity-mappings", "--quick", "--limit", "8"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(block in report for block in BLOCKS[::2])
    assert (tmp_path / "out" / "trained" / "resnet20-bn-after-add").is_dir()


def test_networks_that_guess_decide_nothing(frames: Frames) -> None:
    known = Frames()
    known["summary"] = frames["summary"].assign(error=[0.85, 0.9, 0.9], low=0.8, high=0.93)
    with pytest.raises(NotMeasured, match=r"none .* less often than guessing \(90 %\) for sure"):
        study._lowest("original", BLOCKS, known)


def test_a_network_that_fails_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(*_: object, **__: object) -> None:
        raise study.EvaluationError("the loss is not finite")

    monkeypatch.setattr("ensembles.training.train", diverging)
    frames, _ = measured(tmp_path)
    assert str(frames.missing["deletions original"]) == "the loss is not finite"
    with pytest.raises(NotMeasured, match="no network of the study was measured"):
        frames["summary"]


def test_what_a_setting_asks_for() -> None:
    assert study.training_for(Request()) == study.Training(20, None, "digits")
    asked = study.training_for(Request(dataset="cifar10", model="resnet56", scale=QUICK))
    assert asked == study.Training(56, 3, "short", 256)
    assert study.training_for(Request(model="resnet999", scale=FULL)).depth == 20
    assert len(study.BLOCKS) == 11


def test_it_is_asked_for_by_name_only() -> None:
    [chosen] = choose("identity-mappings")
    assert isinstance(chosen, study.IdentityMappings) and chosen.trains
    assert "identity-mappings" in EXPERIMENTS
    assert not any(one.trains for one in choose("all"))
