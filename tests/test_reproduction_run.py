"""The reproduction from a network to its report, on a small network and few images."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from calls import exit_status

import ensembles
from ensembles.cards import Card
from ensembles.checkpoints import save_checkpoint
from ensembles.reproduction.experiments import choose
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.networks import find_network
from ensembles.reproduction.report_pages import reproduce
from ensembles.reproduction.request import Request
from ensembles.reproduction.scale import Scale
from ensembles.tables import read_frame

TINY = Scale(
    quick=True, images=4, deletions=1, reorderings=1, duplications=1, replayed=3,
    path_images=2, signs=2, samples=1,
)  # fmt: skip
DIGITS = tuple("0123456789")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A user's store with an untrained ResNet-20 whose card says that it knows the digits."""
    folder = tmp_path / "store"
    monkeypatch.setenv("ENSEMBLES_CHECKPOINTS", str(folder))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ensembles.create_model("preresnet20")
    card = Card(
        "preresnet20-digits", "preresnet20", 10, dataset="digits", normalization="digits",
        classes=DIGITS,
    )  # fmt: skip
    save_checkpoint(model, card, folder)
    return folder


@pytest.fixture
def asked(store, tmp_path):
    path = tmp_path / "theirs.csv"
    rows = [f"delete,{block},0.{block}" for block in range(1, 8)]
    path.write_text("\n".join(["lesion,blocks,top1_error", *rows]))
    return Request(model="preresnet20", scale=TINY, device="cpu", published_lesions=path)


@pytest.mark.slow
def test_a_run_writes_everything_and_is_not_made_twice(asked, tmp_path, monkeypatch):
    out, said = tmp_path / "out", []
    experiments = choose("3,5a,6,effective-paths,replay")
    claims = reproduce(asked, experiments, out, said.append)
    assert said[0].startswith("study reproduction: 7 units, 0 of them complete; ")
    first = "1/7 preresnet20-digits on digits: delete 1: 10 lesions, 10 of them measured now"
    assert said[1] == first
    assert list(claims["experiment"].unique()) == ["3", "5a", "6", "effective-paths", "replay"]
    assert set(claims["verdict"]) <= {"holds", "does not hold", "not measured"}
    row = claims.set_index("experiment").loc["effective-paths"]
    assert row["verdict"] == "not measured"
    assert "no checkpoint: preresnet20 trained on effective paths only on digits" in row["note"]
    assert "--paths-only 23" in row["note"]

    text = (out / "report.html").read_text(encoding="utf-8")
    assert "ensembles reproduce --figure 5a --model preresnet20 --device cpu" in text
    assert "Published numbers are labelled as such" in text
    figures = {path.name for path in (out / "figures").iterdir()}
    assert figures == {f"figure-{key}.svg" for key in ("3", "5a", "6", "replay")}
    assert text.count("<svg") == 4
    assert read_frame(out / "frames" / "3-residual.csv").attrs["model"] == "preresnet20-digits"
    kept = read_frame(out / "claims.csv")
    pd.testing.assert_frame_equal(kept.fillna(""), claims, check_dtype=False)

    def refuse(*args, **kwargs):
        raise AssertionError("measured again")

    monkeypatch.setattr("ensembles.analyses.members.lesion.lesion", refuse)
    monkeypatch.setattr("ensembles.analyses.analyze.analyze", refuse)
    again = reproduce(asked, experiments, out)
    pd.testing.assert_frame_equal(again, claims)


def test_networks_are_found_by_their_cards(store):
    assert find_network("preresnet20", "digits", DIGITS).name == "preresnet20-digits"
    assert find_network("preresnet20", "some/folder", DIGITS).name == "preresnet20-digits"
    assert find_network("preresnet20", "some/digits", ()).name == "preresnet20-digits"
    with pytest.raises(NotMeasured, match="no checkpoint: preresnet32 on cifar10") as missing:
        find_network("preresnet32", "cifar10", DIGITS)
    assert missing.value.command == (
        "ensembles train --model preresnet32 --dataset cifar10 --recipe paper "
        "--out runs/preresnet32-cifar10 && ensembles checkpoints add "
        "runs/preresnet32-cifar10/preresnet32.safetensors --name preresnet32-cifar10 "
        "--model preresnet32 --dataset cifar10"
    )
    with pytest.raises(NotMeasured, match="trained with stochastic depth on digits") as missing:
        find_network("preresnet20", "digits", DIGITS, "stochastic depth")
    assert "--stochastic-depth 0.5 --out runs/preresnet20-digits-stochastic-depth" in (
        missing.value.command
    )


def test_wrong_usage_is_a_line(tmp_path, capsys):
    out = tmp_path / "out"
    assert exit_status("reproduce", "--figure", "9", "--out", out) == 2
    assert "figure '9' is unknown" in capsys.readouterr().err
    assert exit_status("reproduce", "--figure", "3", "--all", "--out", out) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert exit_status("reproduce", "--published-lesions", tmp_path / "none.csv", "--out", out) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert not out.exists()


def test_an_interrupted_run_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("ensembles.reproduction.report_pages.reproduce", interrupted)
    assert exit_status("reproduce", "--quick", "--out", tmp_path / "out") == 130
    assert "interrupted; the same command goes on from" in capsys.readouterr().err
