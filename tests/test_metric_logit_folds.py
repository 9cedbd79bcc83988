"""Centred logits over parts of the data: by hand, whatever the batches are."""

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


def test_parts_hold_the_right_logit_less_the_mean_one() -> None:
    model = build([("pre", 6, 1)] * 2, seed=1)
    images, labels = images_for(model, 40)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    lesions = [Intact(), Delete((2,))]
    frames = [
        ensembles.lesion(net, data, lesions, metrics="logit_folds", batch_size=size)
        for size in (40, 7)
    ]
    with torch.no_grad():
        outputs = [model(images), net.lesioned(Delete((2,)))(images)]
    for frame in frames:
        for parts, logits in zip(frame["fold_logit"], outputs, strict=True):
            centred = logits.double() - logits.double().mean(1, keepdim=True)
            right = centred[torch.arange(40), labels].numpy()
            wanted = [right[np.arange(40) % 32 == part].sum() for part in range(32)]
            assert parts == pytest.approx(wanted, abs=1e-4)


def test_a_number_added_to_all_logits_changes_nothing() -> None:
    folds: Any = METRICS.get("logit_folds")
    logits = torch.tensor([[1.0, 2.0, 6.0], [float("nan"), 0.0, 1.0]])
    states = []
    for more in (0.0, 5.0):
        answers = Answers.of(logits + more, torch.tensor([2, 0]))
        answers.start = 3
        states.append(folds.measure(answers))
    assert torch.equal(*states)
    assert states[0][3] == 3 and int((states[0] != 0).sum()) == 1  # what is not finite adds nothing


def test_it_says_where_rows_are_not_known() -> None:
    folds: Any = METRICS.get("logit_folds")
    with pytest.raises(UsageError, match="'logit_folds' does not know which rows"):
        folds.measure(Answers.of(torch.eye(2), torch.tensor([0, 1])))
