"""Divergences over parts of the data: they add up to the metric `kl`, whatever the batches are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from networks import build, images_for

import ensembles
from ensembles.errors import UsageError
from ensembles.lesions import Delete, Intact
from ensembles.metrics import METRICS, Answers


def test_parts_add_up_to_the_whole() -> None:
    model = build([("pre", 6, 1)] * 2, seed=1)
    images, labels = images_for(model, 40)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    lesions = [Intact(), Delete((1,)), Delete((2,))]
    frames = [
        ensembles.lesion(net, data, lesions, metrics=("kl", "kl_folds"), batch_size=size)
        for size in (40, 7)
    ]
    for frame in frames:
        for row in frame.itertuples():
            assert len(row.fold_kl) == 32
            assert sum(row.fold_kl) / row.total == pytest.approx(row.kl, rel=1e-6, abs=1e-12)
    a, b = (np.array(frame["fold_kl"].tolist()) for frame in frames)
    assert a == pytest.approx(b, rel=1e-3, abs=1e-9)
    alone = ensembles.lesion(net, [(images[[3, 35]], labels[[3, 35]])], lesions, metrics="kl")
    assert a[1, 3] / 2 == pytest.approx(alone["kl"][1], rel=1e-4)


def test_it_says_where_rows_are_not_known() -> None:
    folds: Any = METRICS.get("kl_folds")
    with pytest.raises(UsageError, match="'kl_folds' does not know which rows"):
        folds.measure(Answers.of(torch.eye(2), torch.tensor([0, 1]), torch.eye(2)))
