"""The checkpoints that come with the package give the counts of their cards."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path

import pytest

from ensembles.cards import Card
from ensembles.checkpoints import list_checkpoints, load, remove
from ensembles.data import dataset
from ensembles.data.texts import open_text
from ensembles.engine import count_correct
from ensembles.errors import UsageError

NAME = attrgetter("name")
PACKAGED = [entry.card for entry in list_checkpoints() if entry.place == "packaged"]


@pytest.mark.parametrize("card", [card for card in PACKAGED if card.dataset == "digits"], ids=NAME)
def test_a_packaged_checkpoint_on_the_digits_gives_the_count_of_its_card(card: Card) -> None:
    (stated,) = card.measured
    model, _ = load(card.name)
    data = dataset("digits", stated.split, normalize=card.normalization)
    assert count_correct(model, data, 25) == (stated.correct, stated.total)


def test_the_packaged_language_model_gives_the_counts_of_its_card() -> None:
    (card,) = (card for card in PACKAGED if card.architecture == "gpt12")
    model, _ = load("gpt12")
    for stated in card.measured:
        if stated.dataset == "prose":
            data = open_text("prose", stated.split, window=256)
            if data.content_hash != stated.content_hash:
                pytest.skip("another version of scikit-learn describes its data otherwise")
            assert count_correct(model, data) == (stated.correct, stated.total)


SHALLOW = [
    card
    for card in PACKAGED
    if card.dataset.startswith("cifar10") and "110" not in card.architecture
]  # the deep ones take minutes: benchmarks/packaged_counts.py


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize("card", SHALLOW, ids=NAME)
def test_a_packaged_checkpoint_on_original_images_gives_the_count_of_its_card(
    card: Card, cifar_original_val: Path
) -> None:
    data = dataset(cifar_original_val, "test", normalize=card.normalization)
    stated = next(one for one in card.measured if one.content_hash == data.content_hash)
    model, _ = load(card.name)
    assert count_correct(model, data, 25) == (stated.correct, stated.total)


def test_packaged_checkpoints_stay() -> None:
    with pytest.raises(UsageError, match="is part of the package and stays"):
        remove(PACKAGED[0].name)
