"""Normalisations, the embedded digits, subsets, and batches of anything."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from ensembles.data import ImageDataset, Normalization, dataset, known_datasets
from ensembles.data.digits import test_indices as held_out_digits
from ensembles.data.sources import MemorySource
from ensembles.errors import DataError, UsageError

DIGITS_SPLIT = "85534e49b9ee16ca"
DIGITS_CONTENT = {"train": "366b970ef3e33290", "test": "51929d5e2ece08e4"}


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ENSEMBLES_DATA", str(tmp_path / "data"))


def numbered(count: int) -> ImageDataset:
    """Images whose first pixel is their number."""
    images = torch.zeros(count, 3, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    source = MemorySource(images, torch.arange(count) % 3)
    return ImageDataset("numbered", "all", ("a", "b", "c"), source, Normalization.parse("none"))


def joined(pairs: Any) -> tuple[Tensor, Tensor]:
    images, labels = zip(*pairs, strict=True)
    return torch.cat(images), torch.cat(labels)


class TestNormalization:
    @pytest.mark.parametrize("text", ["imagenet", "cifar10", "none", "digits", "fashion-mnist"])
    def test_a_name_comes_back(self, text: str) -> None:
        assert str(Normalization.parse(text)) == text

    @given(st.lists(st.tuples(st.floats(-10, 10), st.floats(1e-3, 10)), min_size=1, max_size=4))
    def test_numbers_come_back(self, pairs: list[tuple[float, float]]) -> None:
        mean, std = zip(*pairs, strict=True)
        given_one = Normalization(mean, std)
        assert Normalization.parse(str(given_one)) == given_one

    def test_rounds_as_torchvision_does(self, generator: torch.Generator) -> None:
        from torchvision.transforms import functional

        pixels = torch.randint(0, 256, (3, 9, 9), generator=generator, dtype=torch.uint8)
        ours = Normalization.parse("imagenet")
        image = functional.to_tensor(pixels.permute(1, 2, 0).numpy())
        theirs = functional.normalize(image, list(ours.mean), list(ours.std))
        assert torch.equal(ours(pixels), theirs)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("imagnet", "unknown normalisation 'imagnet'.*did you mean imagenet"),
            ("0.5,x/1,1", "'0.5,x' is not a list of numbers"),
            ("0.5/1,1", "1 means and 2 standard deviations"),
            ("0.5/0", "deviations above zero"),
            ("nan/1", "expected finite numbers"),
            ("/", "'' is not a list of numbers"),
        ],
    )
    def test_refuses_with_one_line(self, text: str, message: str) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            Normalization.parse(text)
        assert "\n" not in str(caught.value)

    def test_refuses_another_number_of_channels(self) -> None:
        with pytest.raises(DataError, match="for 2 channels, but the images have 3"):
            numbered(3).with_normalization("0,0/1,1")


class TestDigits:
    def test_split_is_the_recorded_one(self) -> None:
        from sklearn.datasets import load_digits

        labels = load_digits().target
        indices = held_out_digits(labels.tolist())
        assert hashlib.sha256(json.dumps(indices).encode()).hexdigest()[:16] == DIGITS_SPLIT
        every, held = torch.from_numpy(labels).bincount(), torch.from_numpy(labels[indices])
        assert torch.all((held.bincount() / every - 0.2).abs() < 0.005)

    @pytest.mark.parametrize(("split", "count"), [("train", 1438), ("test", 359)])
    def test_content_is_the_recorded_one(self, split: str, count: int) -> None:
        first, again = dataset("digits", split), dataset("digits", split)
        assert len(first) == count == known_datasets()[0].splits[split]
        assert first.shape == (3, 32, 32)
        assert first.content_hash == again.content_hash
        assert first.content_hash[:16] == DIGITS_CONTENT[split]

    def test_second_reading_needs_no_sklearn(self) -> None:
        dataset("digits")
        code = (
            "import sys, ensembles.data as d; d.dataset('digits');"
            "print([m for m in ('sklearn', 'torchvision', 'matplotlib') if m in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]"

    def test_recorded_mean_and_deviation(self) -> None:
        data = dataset("digits", "train")
        pixels = data.raw()[0].double() / 255
        assert pixels.mean().item() == pytest.approx(data.normalization.mean[0], abs=5e-5)
        assert pixels.std(unbiased=False).item() == pytest.approx(
            data.normalization.std[0], abs=5e-5
        )

    def test_images_are_the_digits_enlarged(self) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        index = held_out_digits(digits.target.tolist())[0]
        pixels, labels = dataset("digits", "test").raw()
        small = torch.from_numpy(digits.images[index]).float() * 255 / 16
        pooled = torch.nn.functional.avg_pool2d(pixels[:1].float(), 4)[0, 0]
        assert labels[0] == digits.target[index]
        assert torch.corrcoef(torch.stack([pooled.flatten(), small.flatten()]))[0, 1] > 0.95


class TestNames:
    @pytest.mark.parametrize(
        ("name", "split", "message"),
        [
            ("digts", "test", "no data set or folder 'digts'.*did you mean digits"),
            ("digits", "tset", "digits has no split 'tset'; it has train, test; did you mean test"),
            ("no/such/folder", "test", "there is no folder no/such/folder; expected a folder with"),
            ("", "test", "no data set or folder ''"),
        ],
    )
    def test_unknown_ones_offer_the_nearest(self, name: str, split: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            dataset(name, split)

    def test_validation_stands_for_test_where_there_is_none(self) -> None:
        assert dataset("Digits", "val").split == "test"

    def test_named_sets_are_resized_as_image_files_are(self) -> None:
        from torchvision.transforms import v2

        held = dataset("digits", limit=5)
        assert dataset("digits", limit=5, image_size=32).content_hash == held.content_hash
        resized = dataset("digits", limit=5, image_size=(48, 40))
        steps = v2.Compose([v2.ToPILImage(), v2.Resize(48), v2.CenterCrop(40), v2.PILToTensor()])
        wanted = torch.stack([steps(image) for image in held.raw()[0]])
        assert torch.equal(next(resized.batches(5))[0], resized.normalization(wanted))
        assert resized.shape == (3, 40, 40) and resized.content_hash != held.content_hash
        assert resized.limited(2).labels.tolist() == [held.labels[0], held.labels[2]]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"limit": 0}, "a limit of 0 images; expected at least 1"),
            ({"image_size": 0}, "image size 0 cannot be cut"),
            ({"image_size": (24, 32)}, "resize not below crop"),
        ],
    )
    def test_refuses_sizes(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            dataset("digits", **arguments)

    def test_command_lists_them(self, tmp_path: Path) -> None:
        from ensembles.cli.datasets import datasets as datasets_command

        table = CliRunner().invoke(datasets_command, ["--root", str(tmp_path)])
        assert table.exit_code == 0
        assert "digits         train 1,438, test 359" in table.output
        assert f"no (download)  {tmp_path}" in table.output
        assert "docstrings  train, test  docstrings of scikit-learn, embedded" in table.output
        listed = CliRunner().invoke(datasets_command, ["--json"])
        names = [entry["name"] for entry in json.loads(listed.output)]
        assert names == [
            "digits", "cifar10", "cifar100", "svhn", "mnist", "fashion-mnist", "imagenet", "prose",
            "docstrings",
        ]  # fmt: skip


def test_the_examples_of_the_docs_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    shown = []
    for example in examples:
        exec(compile(example, "docs/data.md", "exec"), {})
        shown.append(capsys.readouterr().out.splitlines())
    images, ours, arrays, any_form = shown
    assert images[0] == "as they are, normalised by digits"
    assert "64x64" in images[1] and arrays == ["(2, 100) [0, 1, 2, 0, 1, 2] as given"]
    assert ours[0].startswith("100 (3, 32, 32) ('0', '1'")
    assert ours[-2:] == ["64", "36"]
    assert any_form[:3] == [f"torch.Size([{rows}, 7])" for rows in (4, 4, 2)]
    assert any_form[3].startswith("{'left': torch.Size([4, 7]), 'right'")
    assert any_form[-1] == "5"


class TestSubsets:
    @given(st.integers(1, 200), st.integers(1, 250))
    def test_a_limit_is_an_even_spread_in_order(self, total: int, count: int) -> None:
        part = numbered(total).limited(count)
        numbers = part.raw()[0][:, 0, 0, 0].tolist()
        kept = min(total, count)
        assert numbers == [index * total // kept for index in range(kept)]

    def test_hash_tells_pixels_labels_and_classes_apart(self) -> None:
        data = numbered(6)
        images, labels = data.raw()
        changed = [
            (("a", "b", "d"), MemorySource(images, labels)),
            (data.classes, MemorySource(images, labels.flip(0))),
            (data.classes, MemorySource(images.flip(0), labels)),
        ]
        others = [data.limited(5)] + [
            ImageDataset("x", "all", classes, source, data.normalization)
            for classes, source in changed
        ]
        assert len({other.content_hash for other in [data, *others]}) == 5
        assert data.with_normalization("imagenet").content_hash == data.content_hash

    def test_another_split_has_the_same_size_and_normalisation(self) -> None:
        data = dataset("digits", limit=7, normalize="none")
        train = data.limited(3).of_split("training")
        assert (train.name, train.split, len(train)) == ("digits", "train", 1438)
        assert str(train.normalization) == "none"
        assert len(train.of_split("test")) == 359
        assert len(pickle.loads(pickle.dumps(data)).of_split("train")) == 1438

    def test_a_split_that_is_not_there(self) -> None:
        with pytest.raises(DataError, match="digits has no split 'val', only test; give"):
            dataset("digits").of_split("val")
        with pytest.raises(DataError, match=r"digits has no split 'trian'; .* mean train"):
            dataset("digits").of_split("trian")
        with pytest.raises(DataError, match=r"numbered \(all\) was made from images in mem"):
            numbered(3).of_split("train")

    def test_splits_of_folders(self, tmp_path: Path) -> None:
        for place, side in (("two/test/a", 4), ("two/train/a", 4), ("odd/test/a", 4),
                            ("odd/train/a", 5), ("one/a", 4)):  # fmt: skip
            (tmp_path / place).mkdir(parents=True)
            Image.new("RGB", (side, side)).save(tmp_path / place / "0.png")
        assert dataset(tmp_path / "two").of_split("train").split == "train"
        with pytest.raises(DataError, match=r"\(train\) have shape \(3, 5, 5\), those of"):
            dataset(tmp_path / "odd").of_split("train")
        assert dataset(tmp_path / "odd", image_size=4).of_split("train").shape == (3, 4, 4)
        with pytest.raises(DataError, match="one has no split 'train', only all; give those data"):
            dataset(tmp_path / "one").of_split("train")

    def test_an_empty_set_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"numbered \(all\) holds no images"):
            numbered(0)
