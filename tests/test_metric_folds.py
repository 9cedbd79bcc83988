"""Sums over parts of the data: the same rows in a part whatever the batches are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import build, images_for

import ensembles
from ensembles.errors import UsageError
from ensembles.lesions import Delete, Intact
from ensembles.metrics import METRICS, Answers


def test_a_part_holds_the_same_rows_whatever_the_batches_are(tmp_path: Any) -> None:
    model = build([("pre", 6, 1)] * 2, seed=1)
    images, labels = images_for(model, 75)
    net = ensembles.decompose(model, images[:4])
    lesions = [Intact(), Delete((1,)), Delete((2,)).recalibrated(1, 16)]
    data, kept = [(images, labels)], str(tmp_path / "x.db")
    frames = [
        ensembles.lesion(
            net, data, lesions, metrics="folds", batch_size=size, reference=data, store=store
        )
        for size, store in ((75, None), (7, None), (32, kept), (32, kept))
    ]
    assert frames[3].attrs["store"]["measured"] == 0
    with torch.no_grad():
        losses = torch.nn.functional.cross_entropy(model(images), labels, reduction="none")
        right = model(images).argmax(1) == labels
    for frame in frames:
        assert frame["fold_total"][0] == [3] * 11 + [2] * 21
        for part in (0, 10, 31):
            rows = torch.arange(75) % 32 == part
            assert frame["fold_correct"][0][part] == int(right[rows].sum())
            assert frame["fold_loss"][0][part] == pytest.approx(float(losses[rows].sum()), abs=1e-4)
        for row in frame.itertuples():
            assert sum(row.fold_correct) == row.correct
            assert sum(row.fold_loss) / row.total == pytest.approx(row.loss, abs=1e-5)
        assert frame["fold_correct"].tolist() == frames[0]["fold_correct"].tolist()


def test_all_tokens_of_a_window_lie_in_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    from ensembles.tasks import tokens

    torch.manual_seed(0)
    model = ensembles.create_model("gpt6", width=16, heads=2)
    windows = torch.randint(0, 256, (34, 9))
    net = ensembles.decompose(model, windows[:2])
    monkeypatch.setattr(tokens, "_LOGITS", 256 * 3)  # three tokens at a time
    frame = ensembles.lesion(net, windows, [Intact()], metrics="folds", batch_size=5)
    assert frame["fold_total"][0] == [16, 16] + [8] * 30
    with torch.no_grad():
        losses = torch.nn.functional.cross_entropy(
            model(windows)[:, :-1].flatten(0, 1), windows[:, 1:].flatten(), reduction="none"
        ).reshape(34, 8)
    assert frame["fold_loss"][0][1] == pytest.approx(float(losses[[1, 33]].sum()), rel=1e-5)


def test_what_cannot_have_been_kept_is_found() -> None:
    folds: Any = METRICS.get("folds")
    answers = Answers.of(torch.eye(4), torch.tensor([0, 1, 2, 0]))
    with pytest.raises(UsageError, match="does not know which rows"):
        folds.measure(answers)
    answers.start = 30
    state = folds.update(folds.zero(4), answers)
    import numpy as np

    worse = np.stack([state, state.copy(), state.copy()])
    worse[1, 5] += 1  # one observation more than there are
    worse[2, 32 + 5] += 1  # more right than seen
    assert folds.possible(worse, np.array([4, 4, 4]), None).tolist() == [True, False, False]
