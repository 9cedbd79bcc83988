"""A language model is trained on a text by one call; what does not go together is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import ensembles
from ensembles.cards import read_card
from ensembles.checkpoints import load
from ensembles.data.texts import open_text
from ensembles.errors import EnsemblesError
from ensembles.training import load_recipe, train
from ensembles.training.text_loader import EpochWindows

QUICK = replace(load_recipe("language"), name="quick", batch_size=4, epochs=2)
TEXT = tuple(open_text("prose", split, window=32, limit=12) for split in ("train", "test"))


def quick(out: Path, **options: Any) -> Any:
    settings: dict[str, Any] = {"recipe": QUICK, "device": "cpu", "precision": "fp32"} | options
    return train(settings.pop("model", "gpt6"), settings.pop("data", TEXT), out=out, **settings)


def test_weights_with_a_card_that_says_what_they_are(tmp_path: Path) -> None:
    lines: list[str] = []
    result = quick(tmp_path, report=lines.append, task="language")
    assert "tokens/s" in lines[0]
    assert result.observation == "token"
    card = read_card(result.card)
    assert (card.architecture, card.num_classes, card.dataset) == ("gpt6", 256, "prose")
    assert card.preprocessing == {"tokenizer": "bytes", "window": 32}
    assert card.content_hash == TEXT[0].content_hash
    assert card.recipe["optimizer"] == "adamw"
    model, _ = load("gpt6", result.weights)
    ids = TEXT[1].windows
    with torch.no_grad():
        right = model(ids)[:, :-1].argmax(-1) == ids[:, 1:]
    assert result.measured.correct == int(right.sum())
    assert result.measured.total == right.numel()
    again = quick(tmp_path / "again", report=None)
    assert again.weights.read_bytes() == result.weights.read_bytes()


def test_cuts_and_orders_are_those_of_seed_and_epoch() -> None:
    batches = EpochWindows(TEXT[0], 4, 0)
    first = torch.cat([ids for ids, _ in batches])
    batches.set_epoch(1)
    second = torch.cat([ids for ids, _ in batches])
    assert first.shape == second.shape == (12, 32)
    assert not torch.equal(first.sort(0)[0], second.sort(0)[0])
    batches.set_epoch(0)
    ids, following = next(iter(batches))
    assert torch.equal(ids, first[:4])
    assert torch.equal(following, ids[:, 1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "preresnet20"}, "prose is a text; a network for images is trained on images"),
        ({"model": "preresnet20", "data": "prose"}, "prose is a text, and the network takes ima"),
        ({"task": "classification"}, "gpt6 is a network for language, and classification is as"),
        ({"task": "language", "model": "preresnet20"}, "preresnet20 is a network for classificat"),
        ({"normalize": "none"}, "a text is not normalised; leave --normalize out"),
        ({"data": "prose", "window": 300}, "gpt6 does not take windows of 300 tokens: 300 tokens"),
        ({"model": "preresnet20", "data": "digits", "window": 8}, "a window is for texts"),
        ({"data": tuple([ensembles.dataset("digits", limit=4)] * 2)}, "digits holds images; a l"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(EnsemblesError, match=message) as caught:
        quick(tmp_path, **options)
    assert "\n" not in str(caught.value)
