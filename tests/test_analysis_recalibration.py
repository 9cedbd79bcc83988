"""Damage with trained and with new statistics, against the same lesions one by one."""

from __future__ import annotations

import numpy as np
import pytest
from networks import build, images_for

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import DataError, LesionError
from ensembles.lesions import (
    Delete,
    Intact,
)
from ensembles.plots import plot_analysis


def test_recalibration_pairs_both_statistics() -> None:
    model = build([("pre", 6, 1), ("pre", 8, 2), ("pre", 8, 1)], seed=2)
    images, labels = images_for(model, 64)
    labels = model(images).argmax(1)
    net, data = ensembles.decompose(model, images[:4]), [(images[:40], labels[:40])]
    how = {"reference": [(images, labels)]}
    table = ensembles.analyze(net, data, "recalibration", batches=2, size=32, **how)
    plain = [Delete((b,)) for b in (1, 2, 3)]
    again = [one.recalibrated(2, 32) for one in plain]
    control = Intact().recalibrated(2, 32)
    frame = ensembles.lesion(
        net, data, [*plain, *again, control], engine="direct", **how
    ).set_index(["lesion", "blocks"])
    intact = frame.iloc[0]
    for row, one, other in zip(table.itertuples(), plain, again, strict=True):
        a, b = frame.loc[one.kind, one.text], frame.loc[other.kind, other.text]
        assert (row.error, row.error_recalibrated) == (a.error, b.error)
        assert row.error_gain == pytest.approx(a.error - b.error)
        assert row.loss_rise == pytest.approx(a.loss - intact.loss, abs=1e-5)
        assert row.loss_gain == pytest.approx(a.loss - b.loss, abs=1e-5)
        if not row.reason:
            share = (a.loss - b.loss) / (a.loss - intact.loss)
            assert row.loss_share == pytest.approx(share, rel=1e-3)
            assert row.loss_share_low <= row.loss_share <= row.loss_share_high
        else:
            assert row.reason == "its rise of the loss may be 0" and np.isnan(row.loss_share)
    assert not table["reason"].all()  # or the test would say nothing of shares
    change = next(row for row in table.attrs["intact"] if row["of"] == "rise of the loss")
    wanted = frame.loc[control.kind, control.text].loss - intact.loss
    assert change["change"] == pytest.approx(wanted, abs=1e-5)
    total = next(row for row in table.attrs["shares"] if row["of"] == "rise of the loss")
    assert total["rise"] == pytest.approx(table["loss_rise"].sum(), abs=1e-5)
    assert plot_analysis(table).axes[0].get_xlabel() == "Lesioned block"
    with pytest.raises(DataError, match="can be read only once, and recalibration"):
        ensembles.analyze(net, iter(data), "recalibration", **how)


def test_recalibration_changes_nothing_without_batch_norm() -> None:
    model = build([("attention", 6, 1), ("mixer", 6, 1)], seed=2)
    images, labels = images_for(model, 34)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    table = ensembles.analyze(net, data, "recalibration")
    assert table["loss_gain"].tolist() == [0] * 4 and table["error_gain"].tolist() == [0] * 4
    assert ANALYSES.get("recalibration").notes(table) == [
        "the network has no BatchNorm: recalibration changes nothing"
    ]
    with pytest.raises(LesionError, match="no lesion of one block alone"):
        ensembles.analyze(net, data, "recalibration", kind="reverse")
