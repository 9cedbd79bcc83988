"""Two networks held against each other, several seeds as one, and a network at a glance."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from networks import build
from scipy.stats import binomtest, ttest_1samp
from stores import outcome

import ensembles
from ensembles.errors import UsageError
from ensembles.lesions import Delete, Intact
from ensembles.plots import error_across_networks
from ensembles.statistics import across_networks, correct_by_image, network_tests, paired_tests
from ensembles.tables import lesion_frame, stack_frames

LABELS = np.arange(60) % 5


def predictions(seed: int) -> dict[object, np.ndarray]:
    rng = np.random.default_rng(seed)
    lesions = [Intact(), Delete((1,)), Delete((2,))]
    return {
        one: np.where(rng.random(60) < share, LABELS, 9).astype(np.int32)
        for one, share in zip(lesions, (0.95, 0.7, 0.4), strict=True)
    }


def test_two_networks_are_tested_block_by_block_on_the_same_images() -> None:
    first, second = (correct_by_image(LABELS, predictions(seed)) for seed in (1, 2))  # type: ignore[arg-type]
    found = network_tests(first, second)
    assert list(zip(found.lesion, found.blocks, strict=True)) == [
        ("none", ""), ("delete", "1"), ("delete", "2"),
    ]  # fmt: skip
    for row, name in zip(found.to_dict("records"), first.columns, strict=True):
        one, other = first[name].to_numpy(), second[name].to_numpy()
        b, c = int((one & ~other).sum()), int((~one & other).sum())
        assert (row["only_first"], row["only_second"]) == (b, c)
        assert row["difference"] == pytest.approx(one.mean() - other.mean())
        assert row["low"] <= row["difference"] <= row["high"]
        if row["test"] == "exact":
            assert row["p_value"] == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1)
    assert (found["p_holm"] >= found["p_value"]).all()
    same = network_tests(first, first)
    assert (same["difference"] == 0).all() and (same["p_value"] == 1).all()
    against_intact = paired_tests(first)
    assert list(against_intact["blocks"]) == ["1", "2"]
    with pytest.raises(UsageError, match="60 images for one network and 10 for the other"):
        network_tests(first, second[:10])
    with pytest.raises(UsageError, match="no lesion in common"):
        network_tests(first[[("delete", "1")]], second[[("delete", "2")]])


def seeds(number: int) -> list[pd.DataFrame]:
    rng = np.random.default_rng(0)
    each = []
    for seed in range(number):
        lesions = [Intact(), *(Delete((b,)) for b in (1, 2, 3))]
        made = [outcome(one, int(rng.integers(5, 30))) for one in lesions]
        names = ["a", "b", "c"]
        each.append(lesion_frame(made, names=names, model=f"resnet20, seed {seed}", classes=10))
    return each


def test_several_seeds_are_a_mean_with_an_interval_over_networks() -> None:
    frames = seeds(4)
    found = across_networks(frames)
    pd.testing.assert_frame_equal(found, across_networks(stack_frames(frames)))
    assert list(found["n"]) == [4] * 4
    for place, row in enumerate(found.to_dict("records")):
        values = [float(frame["error"].iloc[place]) for frame in frames]
        interval = ttest_1samp(values, 0).confidence_interval(0.95)
        assert row["mean"] == pytest.approx(np.mean(values))
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    alone = across_networks(frames[:1])
    assert alone["mean"].tolist() == frames[0]["error"].tolist()
    assert all(math.isnan(one) for one in alone["low"])
    with pytest.raises(UsageError, match="confidence 2: expected a number between 0 and 1"):
        across_networks(frames, confidence=2)
    with pytest.raises(UsageError, match="no lesion in common"):
        across_networks([frames[0][:2], frames[1][2:]])


def test_the_band_of_a_figure_is_that_interval() -> None:
    frames = seeds(3)
    ax = error_across_networks(frames, seeds(2), labels=["ours", "theirs"], colours=["k", "red"])
    drawn = ax.get_legend()
    assert drawn is not None
    assert [text.get_text() for text in drawn.get_texts()] == [
        "ours, mean of 3", "theirs, mean of 2", "95% interval over networks", "one network",
        "chance (90%)", "30 images",
    ]  # fmt: skip
    found = across_networks(frames)[1:]
    band = ax.collections[0].get_paths()[0].get_extents()
    assert band.y0 == pytest.approx(found["low"].min())
    assert band.y1 == pytest.approx(found["high"].max())
    with pytest.raises(UsageError, match="1 labels for 2 groups"):
        error_across_networks(frames, frames, labels=["a"])


def test_a_network_shows_itself_in_a_screen_and_in_a_notebook() -> None:
    net = ensembles.decompose(ensembles.create_model("resnet110"), torch.randn(2, 3, 32, 32))
    text = str(net)
    assert text.startswith("CifarResNet: 54 blocks, 1,")
    assert "2^54 paths" in text and len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 100 and "... 35 more" in text
    html = net._repr_html_()
    assert html.count("<tr>") == 55 and "layer3.17" in html


def test_a_summary_has_a_row_for_each_block() -> None:
    model = build([("post", 6, 1), ("post", 6, 1)])
    found = ensembles.summary(model, size=(3, 8, 8))
    assert list(found["block"]) == [1, 2] and found.attrs["paths"] == 4
    net = ensembles.decompose(model, torch.randn(2, 3, 8, 8))
    pd.testing.assert_frame_equal(ensembles.summary(net), found)
    with pytest.raises(UsageError, match=r"give an example, .* such as size=\(3, 224, 224\)"):
        ensembles.summary(model)


def test_a_notebook_shows_a_figure_by_itself() -> None:
    figure = ensembles.plot_lesions(seeds(1))
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
