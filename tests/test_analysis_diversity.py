"""Sub-networks as members of an ensemble, against each run by itself; members known beforehand."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from calls import LoadProgram
from networks import build, images_for
from torch import Tensor, nn

import ensembles
from ensembles.analyses.diversity_tables import members_of
from ensembles.analyses.kinds import ANALYSES
from ensembles.analyses.members.diversity import DiversityOptions
from ensembles.errors import LesionError, UsageError
from ensembles.lesions import Lesion
from ensembles.models import Average
from ensembles.plots import plot_analysis
from ensembles.plots.diversity import average_by_members


def together(table):
    return {row["what"]: row for row in table.attrs["ensemble"]}


def test_it_equals_sub_networks_run_one_by_one() -> None:
    model = build([("pre", 6, 1)] * 4, seed=3)
    images, labels = images_for(model, 70)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    table = ensembles.analyze(net, data, "diversity", members=4, share=0.4, batch_size=32)
    members = table[table["role"] == "member"]
    assert all(len(text.split()) == 2 for text in members["deleted"]) and len(members) == 4
    blocks = [tuple(map(int, text.split())) for text in members["deleted"]]
    with torch.no_grad():
        probabilities = [
            net.lesioned(Lesion("delete", one))(images).double().softmax(1) for one in blocks
        ]
    said = torch.stack([one.argmax(1) for one in probabilities])
    wrong = (said != labels).double().numpy()
    truth = torch.eye(5)[labels].double()
    assert members["error"].tolist() == pytest.approx(wrong.mean(1).tolist())
    brier = [float((one - truth).square().sum(1).mean()) for one in probabilities]
    assert members["brier"].tolist() == pytest.approx(brier, rel=1e-4)
    pairs = list(combinations(range(4), 2))
    differ = [float((said[i] != said[j]).double().mean()) for i, j in pairs]
    alike = [float(np.corrcoef(wrong[i], wrong[j])[0, 1]) for i, j in pairs]
    found = together(table)
    assert found["disagreement of pairs"]["value"] == pytest.approx(np.mean(differ))
    assert found["correlation of errors"]["value"] == pytest.approx(np.mean(alike))
    sums = [wrong[i].mean() + wrong[j].mean() for i, j in pairs]
    relative = found["disagreement over the sum of both errors"]["value"]
    assert relative == pytest.approx(np.mean(np.array(differ) / sums))
    first = [float((said[0] != said[j]).double().mean()) for j in (1, 2, 3)]
    assert members["disagreement"].iloc[0] == pytest.approx(np.mean(first))
    for count in (2, 3, 4):
        mean = torch.stack(probabilities[:count]).mean(0)
        row = table[(table["role"] == "average") & (table["members"] == count)].iloc[0]
        assert row["error"] == pytest.approx(float((mean.argmax(1) != labels).double().mean()))
        loss = float(-mean.gather(1, labels[:, None]).log().mean())
        assert row["loss"] == pytest.approx(loss, rel=1e-4)
        assert row["brier_low"] <= row["brier"] <= row["brier_high"]
    spread = torch.stack([(one - mean).square().sum(1).mean() for one in probabilities]).mean()
    assert found["squared distance from the average"]["value"] == pytest.approx(
        float(spread), rel=1e-3
    )
    deleted = ensembles.lesion(
        net, data, [Lesion("delete", one) for one in blocks], metrics=("ece", "brier")
    )
    assert members["ece"].tolist() == pytest.approx(deleted["ece"].tolist()[1:], abs=1e-6)
    assert table.iloc[0]["ece"] == pytest.approx(deleted["ece"][0], abs=1e-6)
    assert len(ANALYSES.get("diversity").notes(table)) == 3
    assert len(plot_analysis([table, table]).axes) == 3
    ax = average_by_members(table, colours=["#123456"], labels=["one"])
    assert next(text.get_text() for text in ax.get_legend().get_texts()) == "one"


class Own(nn.Module):
    """A member that sees one number of the input alone."""

    def __init__(self, place: int, classes: int = 2) -> None:
        super().__init__()
        self.place = place
        self.map = nn.Linear(1, classes)
        with torch.no_grad():
            self.map.weight.copy_(torch.tensor([[-2.0], [2.0]]))
            self.map.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x[:, self.place : self.place + 1])


def test_independent_members_have_errors_without_correlation() -> None:
    """Each says the sign of a number of its own, right with 0.7: of 5, the most say 0.837."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (4000,), generator=draw)
    right = torch.rand(4000, 5, generator=draw) < 0.7
    numbers = torch.where(right, 1.0, -1.0) * (2 * labels[:, None] - 1)
    net = ensembles.decompose(Average([Own(place) for place in range(5)]).eval(), numbers[:4])
    table = ensembles.analyze(net, [(numbers, labels)], "diversity")
    found = together(table)
    assert table.attrs["made"] == "the 5 networks of the average"
    correlation = found["correlation of errors"]
    assert correlation["low"] < 0 < correlation["high"] and abs(correlation["value"]) < 0.02
    assert found["disagreement of pairs"]["value"] == pytest.approx(2 * 0.7 * 0.3, abs=0.02)
    assert found["error: members' mean"]["value"] == pytest.approx(0.3, abs=0.01)
    assert found["error: average"]["value"] == pytest.approx(1 - 0.83692, abs=0.02)
    intact = table[table["role"] == "intact"].iloc[0]
    assert intact["error"] == found["error: average"]["value"]
    assert intact["loss"] == pytest.approx(found["loss: average (nats)"]["value"], rel=1e-4)


def test_identical_members_gain_nothing() -> None:
    member = build([("pre", 6, 1)], seed=3)
    images, labels = images_for(member, 40)
    net = ensembles.decompose(
        Average([member] + [build([("pre", 6, 1)], seed=3) for _ in range(2)]).eval(), images[:4]
    )
    found = together(ensembles.analyze(net, [(images, labels)], "diversity"))
    assert found["disagreement of pairs"]["value"] == 0
    assert found["correlation of errors"]["value"] == pytest.approx(1)
    assert found["error: members' mean less average's"]["value"] == pytest.approx(0, abs=1e-12)
    assert found["squared distance from the average"]["value"] == pytest.approx(0, abs=1e-6)


def test_it_runs_on_a_language_model() -> None:
    model, _ = ensembles.load("gpt12")
    data = ensembles.dataset("prose", limit=2, window=16)
    net = ensembles.decompose(model, next(iter(data))[None])
    table = ensembles.analyze(net, data, "diversity", members=2)
    assert table.attrs["observations"] == 30 and len(table) == 4
    assert table["loss"].notna().all()


def test_what_diversity_refuses_and_draws() -> None:
    model = build([("pre", 6, 1)] * 3)
    images, labels = images_for(model, 4)
    net = ensembles.decompose(model, images)
    members, made = members_of(net, DiversityOptions(members=12))
    assert len(members) == 3 and made == "3 sub-networks that lack 1 random block of 3 each"
    for bad, message in (
        ({"members": 1}, "1 members; expected 2 or more"),
        ({"share": 1.5}, "share 1.5; expected more than 0 and less than 1"),
        ({"rows": -1}, "rows -1; expected 0 or more"),
    ):
        with pytest.raises(UsageError, match=message):
            ensembles.analyze(net, [(images, labels)], "diversity", **bad)
    one = ensembles.decompose(build([("pre", 6, 1)]), images)
    with pytest.raises(LesionError, match=r"1 sub-networks of .* without 1 of its 1 blocks"):
        ensembles.analyze(one, [(images, labels)], "diversity")


def test_noise_is_added_to_the_images_of_a_network(load_program: LoadProgram) -> None:
    noisy = load_program("diversity_members").noisy
    data = ensembles.dataset("digits", limit=40)
    ((images, labels),) = data.batches(40)
    ((same, as_they_are),) = noisy(SimpleNamespace(data=data), 0.0)  # type: ignore[arg-type]
    assert same.equal(images) and as_they_are.equal(labels)
    ((other, _),) = noisy(SimpleNamespace(data=data), 1.5)  # type: ignore[arg-type]
    assert float((other - images).std()) == pytest.approx(1.5, rel=0.02)
