"""Entropy of data, and what networks hold of true and random labels, tiny and for an epoch."""

from __future__ import annotations

from io import BytesIO
from math import log2
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import ensembles
from ensembles.cli import main
from ensembles.errors import UsageError
from ensembles.reproduction import capacity_tables as judged
from ensembles.reproduction.capacity_plan import CapacityPlan, capacity_plan_for
from ensembles.reproduction.entropies import (
    _together,
    coded_bits,
    entropies,
    independent_bits,
    recorded_images,
)
from ensembles.reproduction.judgements import Frames, claim_rows
from ensembles.reproduction.lessons import memorised_bits
from ensembles.reproduction.request import Request
from ensembles.reproduction.scale import QUICK
from ensembles.tables import read_frame


def pixels(*shape: int, levels: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, levels, shape, dtype=np.uint8)


# Entropy


def test_fair_coins_have_a_bit_each() -> None:
    images = pixels(20_000, 1, 2, 3)
    found = independent_bits(images, 1)
    assert found["mean image"] == pytest.approx(6, abs=1e-3)
    assert found["independent pixels"] == pytest.approx(6, abs=1e-3)


def test_levels_are_counted_and_the_correction_takes_the_bias_away() -> None:
    many = independent_bits(pixels(40_000, 1, 1, 1, levels=16), 15)["independent pixels"]
    assert many == pytest.approx(4, abs=2e-3)
    few = [
        independent_bits(pixels(64, 1, 1, 1, levels=8, seed=seed), 7)["independent pixels"]
        for seed in range(200)
    ]
    # Without the correction 7 / (2 * 64 ln 2) = 0.08 are missing, with it a term of second order.
    assert np.mean(few) == pytest.approx(3, abs=0.02)


def test_constant_images_hold_nothing() -> None:
    images = np.full((50, 1, 4, 4), 7, np.uint8)
    assert independent_bits(images, 7) == {"mean image": 0, "independent pixels": 0}
    assert max(coded_bits(images).values()) < 40


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_coders_keep_all_of_random_pixels(channels: int) -> None:
    images = pixels(64, channels, 8, 8, levels=256)
    for bits in coded_bits(images).values():
        assert bits == pytest.approx(8 * channels * 64, rel=0.1)


def test_images_lie_side_by_side_and_are_kept_whole() -> None:
    images = pixels(5, 3, 2, 4, levels=256)
    picture = _together(images)
    assert picture.shape == (6, 8, 3)
    assert (picture[2:4, :4].transpose(2, 0, 1) == images[2]).all()
    with BytesIO() as file:
        Image.fromarray(picture).save(file, format="WEBP", lossless=True)
        file.seek(0)
        assert (np.asarray(Image.open(file).convert("RGB")) == picture).all()


def test_digits_are_taken_as_they_were_recorded() -> None:
    data = ensembles.dataset("digits", split="test")
    images, labels = recorded_images(data)
    assert images.shape == (359, 1, 8, 8) and images.max() == 16
    assert labels.tolist() == data.labels.tolist()
    table = entropies(images, labels, 16, 0.1).set_index("estimate")
    assert table.loc["class frequencies", "bits_per_image"] == pytest.approx(log2(10), abs=0.01)
    assert table.loc["given images, by the best network", "bits_per_image"] == 0.1
    coded = table.loc[["PNG", "WebP"], "bits_per_image"]
    assert (coded < 8 * 64).all() and (coded > 50).all()
    assert (table["weights"] == table["bits"] / 2).all()


def test_other_images_lose_equal_channels_alone(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            picture = pixels(4, 4, 3, levels=256)
            picture[..., 1] = picture[..., 0]
            Image.fromarray(picture).save(tmp_path / split / name / "0.png")
    assert recorded_images(ensembles.dataset(str(tmp_path), split="train"))[0].shape[1] == 3


# Labels


def test_bits_of_answers() -> None:
    assert memorised_bits(100, 100, 10) == pytest.approx(100 * log2(10))
    assert memorised_bits(5, 100, 10) == 0
    # A label out of two that is right with probability 0.75 leaves h(0.75) open.
    left = -(0.75 * log2(0.75) + 0.25 * log2(0.25))
    assert memorised_bits(75, 100, 2) == pytest.approx(100 * (1 - left))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("capacity")


@pytest.fixture(scope="module")
def learned(folder: Path) -> pd.DataFrame:
    pytest.importorskip("lightning")
    return ensembles.capacity((240, 400), out=folder, seeds=2, shares=(8,), epochs=1, device="cpu")


def test_each_size_learns(learned: pd.DataFrame, folder: Path) -> None:
    assert (abs(learned["parameters"] / [240, 400] - 1) <= 0.1).all()
    trainings = read_frame(folder / "frames" / "capacity-trainings.csv")
    assert len(trainings) == 2 * 2 * 2
    assert set(trainings["images"]) == {1438, 1438 // 8}
    random = trainings[trainings["labels"] == "random"]
    expected = [
        memorised_bits(right, images, 10)
        for right, images in zip(random["train_correct"], random["images"], strict=True)
    ]
    assert np.allclose(random["bits"], expected)
    means = trainings[trainings["labels"] == "true"].groupby("parameters")["test_accuracy"].mean()
    assert np.allclose(learned["accuracy"], means)
    entropy = read_frame(folder / "frames" / "capacity-entropy.csv")
    assert list(entropy["of"]) == ["images"] * 4 + ["labels"] * 2
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "ensembles capacity --dataset digits --sizes 240,400 --seeds 2 --shares 8" in text
    assert (folder / "figures" / "figure-capacity.svg").exists()


def test_the_command_goes_on(
    learned: pd.DataFrame, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["capacity", "--sizes", "240,400", "--seeds", "2", "--shares", "8", "--epochs", "1"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--device", "cpu", "--out", str(folder)])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert "holds         No network holds more than two bits a parameter" in said.out
    assert "trained" not in said.err
    again = read_frame(folder / "frames" / "capacity-capacity.csv")
    pd.testing.assert_frame_equal(again, learned)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--sizes", "400,200"], "sizes 400, 200: expected rising numbers of parameters"),
        (["--sizes", "few"], "--sizes few: expected a number, such as 250k"),
        (["--shares", "0"], "shares 0: expected numbers from 1 to 1000"),
        (["--family", "mlp"], "family 'mlp' is unknown"),
        (["--accuracy", "1"], "accuracy 1.0; expected a share between 0 and 1"),
    ],
)
def test_wrong_usage_is_a_line(
    asked: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["capacity", *asked, "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_quick_look_is_small() -> None:
    assert capacity_plan_for(Request()) == CapacityPlan()
    assert capacity_plan_for(Request(scale=QUICK)).sizes == (240, 400)
    with pytest.raises(UsageError, match="seeds 0"):
        CapacityPlan(seeds=0)


# Claims, on tables whose answer is known


def verdicts(
    rows: list[tuple[str, int, str, int, float, float, float]], weights: float
) -> list[str]:
    names = ["model", "parameters", "labels", "images", "train_accuracy", "test_accuracy", "bits"]
    trainings = pd.DataFrame(rows, columns=names).assign(family="perceptron", depth=2, seed=0)
    frames = Frames()
    frames["trainings"], frames["capacity"] = trainings, judged.capacity_table(trainings)
    estimates = [("images", "mean image"), ("images", "WebP"), ("labels", "class frequencies")]
    frames["entropy"] = pd.DataFrame(
        [{"of": of, "estimate": name, "weights": weights} for of, name in estimates]
    )
    return list(claim_rows("capacity", judged.capacity_claims(0.95), frames)["verdict"])


def test_criteria_decide() -> None:
    small = [("a", 100, "true", 50, 1.0, 0.96, np.nan), ("a", 100, "random", 50, 0.6, 0.1, 90.0)]
    large = [("b", 900, "true", 50, 1.0, 0.98, np.nan), ("b", 900, "random", 50, 1.0, 0.1, 160.0)]
    assert verdicts(small + large, 150) == ["holds"] * 5
    assert verdicts(small + large, 900) == ["holds"] * 2 + ["does not hold"] * 3
    clever = [("a", 100, "true", 50, 1.0, 0.96, np.nan), ("a", 100, "random", 50, 1.0, 0.1, 210.0)]
    assert verdicts(clever, 100)[:2] == ["does not hold", "does not hold"]
    dull = [("a", 100, "true", 50, 1.0, 0.5, np.nan), ("a", 100, "random", 50, 0.6, 0.1, 90.0)]
    assert verdicts(dull, 100) == ["holds"] + ["not measured"] * 4


def test_labels_count_as_memorised_with_every_seed() -> None:
    rows = [
        {"family": "p", "model": "m", "depth": 2, "parameters": 9, "labels": "random",
         "images": images, "seed": seed, "train_accuracy": right, "test_accuracy": 0, "bits": 1.0}
        for images, seed, right in [(100, 0, 0.5), (50, 0, 1.0), (50, 1, 0.9), (25, 0, 0.99)]
    ]  # fmt: skip
    assert judged.capacity_table(pd.DataFrame(rows))["labels_memorised"].tolist() == [25]
