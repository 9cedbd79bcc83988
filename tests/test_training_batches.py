"""What a step of training is given: images that are moved and resized, each once an epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from trainings import DATA, QUICK, quick, squares

from ensembles.cards import read_card
from ensembles.data import Normalization
from ensembles.errors import ModelError
from ensembles.training import (
    load_recipe,
    train,
)
from ensembles.training.augmentation import draw_moves, moved, padding_colour, shrink
from ensembles.training.loader import EpochBatches


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 5),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    padding=st.integers(0, 3),
    flip=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_augmented_images_are_windows_of_the_padded_ones(
    count: int, size: tuple[int, int], padding: int, flip: bool, seed: int
) -> None:
    drawn = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 2, *size), generator=drawn).to(torch.uint8)
    colour = torch.tensor([7, 9], dtype=torch.uint8)
    out = moved(images, draw_moves(count, padding, flip, drawn), padding, colour)
    assert out.shape == images.shape
    assert out.dtype == torch.uint8
    for before, after in zip(images, out, strict=True):
        assert any(torch.equal(window, after) for window in windows(before, padding, colour, flip))


def windows(image: Tensor, padding: int, colour: Tensor, flip: bool) -> list[Tensor]:
    """Every image that padding, cutting and mirroring can give: the slow oracle."""
    _, height, width = image.shape
    padded = colour.view(-1, 1, 1).repeat(1, height + 2 * padding, width + 2 * padding)
    padded[:, padding : padding + height, padding : padding + width] = image
    found = [
        padded[:, top : top + height, left : left + width]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]
    return found + [window.flip(2) for window in found] if flip else found


def test_all_shifts_and_both_sides_occur() -> None:
    image = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3).repeat(600, 1, 1, 1)
    black = torch.zeros(1, dtype=torch.uint8)
    moves = draw_moves(len(image), 1, True, torch.Generator().manual_seed(0))
    out = moved(image, moves, 1, black)
    assert len({tuple(one.flatten().tolist()) for one in out}) == 18


def test_padding_is_the_mean_colour_or_black() -> None:
    cifar = Normalization.parse("cifar10")
    assert padding_colour(load_recipe("short"), cifar, 3).tolist() == [125, 123, 114]
    assert padding_colour(load_recipe("digits"), cifar, 3).tolist() == [0, 0, 0]


def test_images_grow_as_the_recipe_says(tmp_path: Path) -> None:
    recipe = replace(QUICK, epochs=4, resolutions=((0.5, 0.5), (0.75, 0.75)))
    assert [recipe.resolution(epoch, 8) for epoch in range(8)] == [0.5] * 4 + [0.75] * 2 + [1] * 2
    constant = torch.full((2, 3, 12, 8), 0.7)
    for factor, size in ((0.5, (8, 4)), (1.0, (12, 8)), (0.1, (4, 4))):
        small = shrink(constant, factor)
        assert small.shape == (2, 3, *size)
        torch.testing.assert_close(small, torch.full_like(small, 0.7))
    sizes = []
    from ensembles.training import image_module as module

    def watched(images: Tensor, factor: float) -> Tensor:
        sizes.append(factor)
        return shrink(images, factor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "shrink", watched)
        result = quick(tmp_path, recipe=recipe)
    assert sorted(set(sizes)) == [0.5, 0.75, 1.0]
    assert sizes == sorted(sizes)
    assert read_card(result.card).recipe["resolutions"] == [[0.5, 0.5], [0.75, 0.75]]


def test_a_size_that_the_network_does_not_take_is_found_before_the_training(tmp_path: Path) -> None:
    recipe = replace(QUICK, resolutions=((0.5, 0.5),))
    with pytest.raises(ModelError, match="vgg15 does not take images of 3x16x16: "):
        train("vgg15", (squares(20, "train", side=32), None), out=tmp_path, recipe=recipe)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 70), size=st.integers(2, 20), world=st.integers(1, 3))
def test_every_image_comes_once_an_epoch(count: int, size: int, world: int) -> None:
    images = torch.zeros(count, 1, 1, 1, dtype=torch.uint8)
    parts = [
        EpochBatches(images, torch.arange(count), size, 0, rank=rank, world=world)
        for rank in range(world)
    ]
    assert len({len(part) for part in parts}) == 1
    seen = [label for part in parts for _, labels in part for label in labels.tolist()]
    assert len(seen) == len(set(seen))
    assert all(len(labels) > 1 for part in parts for _, labels in part)
    if world == 1:
        assert count - len(seen) == (1 if count % size == 1 else 0)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    images, labels = DATA[0].raw()

    def order(seed: int, epoch: int) -> list[int]:
        part = EpochBatches(images, torch.arange(len(labels)), 16, seed)
        part.set_epoch(epoch)
        return [label for _, some in part for label in some.tolist()]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
