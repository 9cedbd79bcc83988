"""What Gavrikov et al. published of layers with fresh weights, and the criteria for ours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import ensembles
from ensembles.cards import Card
from ensembles.checkpoints import save_checkpoint
from ensembles.cli import main
from ensembles.errors import UsageError
from ensembles.reproduction.experiments import choose
from ensembles.reproduction.experiments.criticality import Criticality
from ensembles.reproduction.experiments.criticality_trainings import CriticalityTrainings
from ensembles.reproduction.fresh_weights import criticality_curve, median_at
from ensembles.reproduction.judgements import Frames, claim_rows
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import facts
from ensembles.reproduction.published_layers import (
    FILE,
    block_table,
    differences,
    found_layers,
    layer_facts,
    published_blocks,
    read_layers,
)
from ensembles.reproduction.report_pages import reproduce
from ensembles.reproduction.request import Request
from ensembles.reproduction.scale import QUICK

DRAWS = (0, 1, 2)
VERDICT = {True: "holds", False: "does not hold"}


def swept(values, *, spread=0.0, error=0.1, **attrs):
    """A sweep in which blocks have these criticalities, and draws lie so far to both sides."""
    rows = [("none", "", 1.0, error)]
    rows += [
        ("randomize", f"{block} seed{seed}", 1 - value - spread * (seed - 1), error)
        for block, value in enumerate(values, 1)
        for seed in DRAWS
    ]
    frame = pd.DataFrame(rows, columns=["lesion", "blocks", "cosine", "error"])
    frame.attrs = {"model": "net", "dataset": "digits", "blocks": len(values), **attrs}
    return frame


def verdicts(experiment, **frames):
    known = Frames()
    known.update(frames)
    return claim_rows(experiment.key, experiment.claims(), known)


def published(path, cosines, *, networks=2, trials=2):
    """A file as the authors wrote it, with the cosine of each layer."""
    rows = [
        f"{cosine},{layer},{trial}.0,net{network}"
        for network in range(networks)
        for trial in range(trials)
        for layer, cosine in cosines.items()
    ]
    path.write_text("\n".join(["pred_cos_sim,layer,trial,model_id", *rows]))
    return path


COSINES = {
    "model.conv1": 0.0,
    "model.layer1.0.conv1": 0.1,
    "model.layer1.0.conv2": 0.3,
    "model.layer1.0.downsample.0": 0.9,
    "model.layer1.1.conv1": 0.95,
    "model.fc": 0.5,
}


# What was published


def test_rows_of_the_authors_are_read(tmp_path):
    rows = read_layers(published(tmp_path / "theirs.csv", COSINES))
    assert list(rows) == ["network", "layer", "trial", "criticality"]
    assert rows["layer"].unique().tolist() == [name.removeprefix("model.") for name in COSINES]
    found = layer_facts(rows)
    assert (found["networks"], found["trials"]) == (2, 2)
    assert found["blocks"]["names"] == ["layer1.0", "layer1.1"]
    assert found["blocks"]["median"] == [0.8, 0.05]
    assert found["median"] == [1.0, 0.9, 0.7, 0.1, 0.05, 0.5]
    assert (found["little"], found["critical"]) == (0.3333, 0.6667)
    assert (found["network_difference"], found["trial_difference"]) == (0.0, 0.0)
    assert found["with_others"]["lowest"] == 1.0
    table = block_table(rows)
    assert table["place"].tolist() == [0.25, 0.75] * 2
    assert table["criticality"].to_list() == pytest.approx([0.8, 0.05] * 2)


def test_the_network_that_was_never_trained_is_left_out(tmp_path):
    path = published(tmp_path / "theirs.csv", COSINES)
    path.write_text(path.read_text().replace("net1", "resnet50_frozen_random"))
    assert set(read_layers(path)["network"]) == {"net0"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pred_cos_sim,", "cosine,", "no column pred_cos_sim; expected model_id, layer, trial"),
        ("0.95,", "1.7,", "holds something else than cosines, 0 to 1"),
        ("0.5,model.fc,1.0,net1", "", "not every layer of every network is there as often"),
    ],
)
def test_a_file_of_other_things_is_refused(tmp_path, old, new, message):
    path = published(tmp_path / "theirs.csv", COSINES)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UsageError, match=message):
        read_layers(path)


def test_the_file_is_found_among_shared_data(tmp_path, monkeypatch):
    monkeypatch.delenv("ENSEMBLES_ASSETS", raising=False)
    assert found_layers() is None
    monkeypatch.setenv("ENSEMBLES_ASSETS", str(tmp_path))
    assert found_layers() is None
    (tmp_path / "reference").mkdir()
    path = published(tmp_path / "reference" / FILE, COSINES)
    assert found_layers() == path


def test_differences_are_those_of_all_pairs():
    values = np.random.default_rng(0).random((3, 2, 5))
    between, within = differences(values)
    pairs = [(0, 1), (0, 2), (1, 2)]
    for block in range(5):
        one = [abs(values[i, a, block] - values[j, 1 - a, block]) for i, j in pairs for a in (0, 1)]
        assert between[block] == pytest.approx(np.mean(one))
        assert within[block] == pytest.approx(np.abs(np.diff(values[:, :, block])).mean())


def test_summaries_are_in_order():
    known, blocks = facts()["layer_criticality"], published_blocks()
    assert (known["networks"], known["trials"], len(known["layers"])) == (50, 3, 54)
    assert len(blocks) == 16
    levels = blocks[["lowest", "q1", "median", "q3", "highest"]].to_numpy()
    assert (np.diff(levels, axis=1) >= 0).all() and levels.min() >= 0 and levels.max() <= 1
    assert known["network_difference"] > known["trial_difference"] > 0
    at = median_at(blocks["place"].to_numpy())["median"]
    assert at.tolist() == blocks["median"].tolist()


# Criteria


@pytest.mark.parametrize(("value", "holds"), [(0.02, True), (0.09, False)])
def test_every_draw_has_to_have_little_effect(value, holds):
    rows = verdicts(Criticality(), residual=swept([value, *[0.3] * 9], spread=0.015))
    assert rows["verdict"][0] == VERDICT[holds]
    assert rows["ours"][0].startswith(f"{int(holds)} of 10 blocks below 0.1 in each draw")


@pytest.mark.parametrize(("value", "holds"), [(0.6, True), (0.51, False)])
def test_every_draw_has_to_be_critical(value, holds):
    rows = verdicts(Criticality(), residual=swept([value, *[0.3] * 9], spread=0.015))
    assert rows["verdict"][1] == VERDICT[holds]


@pytest.mark.parametrize(("places", "holds"), [([1, 2, 3], True), ([10, 20, 30], False)])
def test_blocks_that_change_the_shape_are_more_critical(places, holds):
    frame = swept(np.linspace(0.9, 0.1, 30), reshaping=places)
    assert verdicts(Criticality(), residual=frame)["verdict"][2] == VERDICT[holds]


def test_without_such_blocks_nothing_is_said():
    row = verdicts(Criticality(), residual=swept([0.1, 0.2], reshaping=[])).iloc[2]
    assert (row["verdict"], row["note"]) == (
        "not measured",
        "no blocks that change the shape, or no others",
    )


@pytest.mark.parametrize("holds", [True, False])
def test_the_same_places_matter(holds):
    theirs = published_blocks()["median"].to_numpy()
    rows = verdicts(Criticality(), residual=swept(theirs if holds else 1 - theirs))
    assert rows["verdict"][3] == VERDICT[holds]
    assert rows["ours"][3] == f"rho = {1 if holds else -1:.3f} over 16 blocks"


@pytest.mark.parametrize("holds", [True, False])
def test_ours_lie_within_theirs(holds):
    theirs = published_blocks()["median"].to_numpy()
    row = verdicts(Criticality(), residual=swept(theirs * (1 if holds else 0))).iloc[4]
    assert row["verdict"] == VERDICT[holds]
    less = 0 if holds else 16
    assert (
        row["ours"]
        == f"{16 - less} of 16 blocks; {less} are less critical than any of theirs, 0 more"
    )
    assert row["note"] == "other data: published for imagenet, ours digits"


def test_a_network_without_finite_outputs_is_left_open():
    frame = swept([0.1])
    frame["cosine"] = np.nan
    with pytest.raises(NotMeasured, match="no finite outputs"):
        criticality_curve(frame)


@pytest.mark.parametrize("holds", [True, False])
def test_trainings_differ_by_more_than_draws(holds):
    first = np.linspace(0.1, 0.9, 12)
    other = first[::-1] if holds else first
    frames = {"ordinary": swept(first, spread=0.05), "paths only": swept(other, spread=0.05)}
    rows = verdicts(CriticalityTrainings(), **frames)
    assert rows["verdict"].tolist() == ["not measured", VERDICT[holds]]
    assert rows["ours"][1].endswith("0.067 between two draws; over 12 blocks")
    [picture] = CriticalityTrainings().draw(frames_of(frames))
    assert "net, net" in picture.caption
    assert CriticalityTrainings().draw(Frames()) == []


def frames_of(tables):
    frames = Frames()
    frames.update(tables)
    return frames


# From a network to the report


@pytest.fixture
def store(tmp_path, monkeypatch):
    folder = tmp_path / "store"
    monkeypatch.setenv("ENSEMBLES_CHECKPOINTS", str(folder))
    monkeypatch.delenv("ENSEMBLES_ASSETS", raising=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ensembles.create_model("preresnet20")
    card = Card(
        "preresnet20-digits", "preresnet20", 10, dataset="digits", normalization="digits",
        classes=tuple("0123456789"),
    )  # fmt: skip
    save_checkpoint(model, card, folder)
    return folder


def test_blocks_get_fresh_weights_and_the_report_shows_theirs(store, tmp_path):
    path = published(tmp_path / "theirs.csv", COSINES)
    asked = Request(
        model="preresnet20", plain="none", scale=replace(QUICK, images=4), device="cpu",
        published_layers=path,
    )  # fmt: skip
    experiments = choose("all", "gavrikov2024")
    assert [one.key for one in experiments] == ["criticality", "criticality-trainings"]
    claims = reproduce(asked, experiments, tmp_path / "out")
    assert list(claims["experiment"]) == ["criticality"] * 5 + ["criticality-trainings"] * 2
    assert set(claims["verdict"][:5]) <= {"holds", "does not hold"}
    assert set(claims["verdict"][5:]) == {"not measured"}
    assert "trained with stochastic depth on digits" in claims["note"][5]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Which parts of a network rest on their trained weights: reproduced" in page
    assert "and each of them as a thin line" in page
    frame = ensembles.read_frame(tmp_path / "out" / "frames" / "criticality-residual.csv")
    assert frame["lesion"].tolist() == ["none"] + ["randomize"] * 27
    curve = criticality_curve(frame)
    assert len(curve) == 9 and (curve["least"] <= curve["most"]).all()
    direct = ensembles.analyze(*opened(), "criticality", trials=3, rows=4)
    ours = direct[direct["variant"] == "init"].set_index("block")
    assert curve["criticality"].to_list() == pytest.approx(1 - ours["cosine"], abs=1e-5)


def opened():
    model, _ = ensembles.load("preresnet20", checkpoint="preresnet20-digits")
    data = ensembles.dataset("digits", split="test", limit=4)
    images, _ = next(data.batches(4))
    return ensembles.decompose(model, images), data


def test_the_other_paper_is_chosen_by_its_name(tmp_path, capsys, monkeypatch):
    taken = []

    def run(request, experiments, out, say):
        taken.append((request.published_layers, [one.key for one in experiments]))
        raise KeyboardInterrupt

    monkeypatch.setattr("ensembles.reproduction.report_pages.reproduce", run)
    path = published(tmp_path / "theirs.csv", COSINES)
    common = ["reproduce", "--out", str(tmp_path / "out")]
    given = ["--published-layers", str(path)]
    for more in (["--paper", "gavrikov2024", *given], ["--figure", "criticality", *given], given):
        with pytest.raises(SystemExit):
            main([*common, *more])
    assert taken[:2] == [
        (path, ["criticality", "criticality-trainings"]),
        (path, ["criticality"]),
    ]
    assert taken[2][0] is None and "criticality" not in taken[2][1]
    with pytest.raises(SystemExit) as stop:
        main([*common, "--paper", "gavrikov2024", "--published-layers", str(tmp_path / "none")])
    assert stop.value.code == 2
    assert "published criticalities" in capsys.readouterr().err
