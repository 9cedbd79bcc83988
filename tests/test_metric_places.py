"""Right answers and loss at each place of the window; answers measured in parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import ensembles
from ensembles.errors import UsageError
from ensembles.metrics import METRICS, Answers
from ensembles.tables import read_frame, write_frame
from ensembles.tasks import tokens
from ensembles.tasks.members.language import MEMBER as LANGUAGE

PLACES: Any = METRICS.get("places")


def test_each_place_is_counted_by_itself() -> None:
    suited = replace(PLACES, places=3)
    output = torch.eye(4)[torch.tensor([[0, 1, 2], [0, 3, 3]])] * 9
    output[1, 2, 0] = torch.inf
    target = torch.tensor([[0, 1, 1], [0, 1, 3]])
    state = suited.zero(4)
    for row, right in zip(output, target, strict=True):
        for start in (0, 2):  # in parts of two tokens and one
            part = slice(start, start + 2)
            state = suited.update(
                state, Answers.of(row[part], right[part], None, torch.arange(3)[part])
            )
    row = suited.row(state, 5)
    assert row["place_total"].tolist() == [2, 2, 1]
    assert row["place_correct"].tolist() == [2, 1, 0]
    assert row["place_loss"][0] == pytest.approx(0.00037, abs=1e-5)
    assert suited.possible(state[None], None, None).tolist() == [True]
    with pytest.raises(UsageError, match="does not know the length of the windows"):
        PLACES.measure(Answers.of(output[0], target[0]))


def test_parts_of_any_size_give_the_same_counts(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = ensembles.create_model("gpt6", width=16, heads=2)
    data = ensembles.dataset("prose", window=16, limit=3)
    net = ensembles.decompose(model, data.windows)  # type: ignore[union-attr]
    metrics = ("top1", "loss", "top5", "kl", "agreement", "perplexity", "places")
    frames = []
    for logits in (1, 256 * 4, 1 << 20):
        monkeypatch.setattr(tokens, "_LOGITS", logits)
        frames.append(ensembles.lesion(net, data, metrics=metrics, model="gpt6"))
    for frame in frames[1:]:
        for name in ("correct", "place_correct", "place_total"):
            assert frame[name].tolist() == frames[0][name].tolist()
        for name in ("loss", "kl", "agreement", "top5"):
            assert frame[name].tolist() == pytest.approx(frames[0][name].tolist(), abs=1e-6)
    batch = next(LANGUAGE.batches(data, 3))
    whole = LANGUAGE.answers(net(batch.inputs), batch.targets)
    assert frames[0]["correct"][0] == int(whole.right.sum())
    about = frames[0].attrs["provenance"]
    assert (about["window"], about["stride"], about["front"]) == (16, 16, None)
    for ending in ("csv", "json"):
        path = tmp_path / f"x.{ending}"
        write_frame(frames[0], path)
        assert read_frame(path)["place_loss"].tolist() == frames[0]["place_loss"].tolist()
