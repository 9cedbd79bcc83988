"""Normalisations, the embedded digits, subsets, and batches of anything."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from ensembles.data import ImageDataset, Normalization, batches, dataset, known_datasets
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

    def test_named_sets_are_not_resized(self) -> None:
        with pytest.raises(UsageError, match="digits have 32x32 pixels and are not resized"):
            dataset("digits", image_size=64)

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
        listed = CliRunner().invoke(datasets_command, ["--json"])
        names = [entry["name"] for entry in json.loads(listed.output)]
        assert names == [
            "digits", "cifar10", "cifar100", "svhn", "mnist", "fashion-mnist", "imagenet",
        ]  # fmt: skip


def test_the_example_of_the_docs_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(example, "docs/data.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("100 (3, 32, 32) ('0', '1'")
    assert lines[-2:] == ["64", "36"]


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

    def test_an_empty_set_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"numbered \(all\) holds no images"):
            numbered(0)


class OneByOne(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Any:
        return iter(numbered(7))


class TestBatches:
    @settings(deadline=None)
    @given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 30))
    def test_recutting_keeps_every_image_once_in_order(self, sizes: list[int], size: int) -> None:
        total = sum(sizes)
        images = torch.arange(total, dtype=torch.float32).view(-1, 1, 1, 1)
        labels = torch.arange(total)
        stream = zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True)
        if not total:
            with pytest.raises(DataError, match="holds no images"):
                list(batches(stream, size))
            return
        found = list(batches(stream, size))
        assert [len(numbers) for _, numbers in found[:-1]] == [size] * (len(found) - 1)
        assert torch.equal(joined(found)[0], images)
        assert torch.equal(joined(found)[1], labels)

    @given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 45))
    def test_our_batches_can_start_anywhere(self, total: int, size: int, start: int) -> None:
        data = numbered(total)
        found = list(data.batches(size, start=start))
        numbers = [round(255 * float(image[0, 0, 0])) for part, _ in found for image in part]
        assert numbers == list(range(start, total))

    @pytest.mark.parametrize(
        "data",
        [
            numbered(7),
            OneByOne(),
            DataLoader(numbered(7), batch_size=3),
            list(DataLoader(numbered(7), batch_size=2)),
            (pair for pair in DataLoader(numbered(7), batch_size=4)),
            torch.utils.data.Subset(numbered(7), range(7)),
            TensorDataset(*joined(numbered(7).batches(7))),
        ],
        ids=["ours", "iterable", "loader", "list", "generator", "subset", "tensors"],
    )
    def test_all_kinds_of_data_give_the_same(self, data: Any) -> None:
        found = list(batches(data, 5))
        expected = list(numbered(7).batches(5))
        for (images, labels), (wanted, numbers) in zip(found, expected, strict=True):
            assert torch.equal(images, wanted)
            assert torch.equal(labels, numbers)
            assert images.dtype == torch.float32
            assert labels.dtype == torch.int64

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            (torch.zeros(2, 3, 4, 4), "item 0 of the data is a Tensor; expected pairs of images"),
            ((1, 2, 3), "item 0 of the data is a tuple of 3"),
            ({"image": 1, "label": 2}, "item 0 of the data is a mapping with image, label"),
            (("cat.png", 1), "has a str as image; add a transform|has a str as image"),
            (
                (torch.zeros(2, 3, 4, 4), torch.zeros(3, dtype=torch.long)),
                r"labels of shape \(3,\)",
            ),
            ((torch.zeros(4, 4), 1), r"images of shape \(4, 4\)"),
            ((torch.zeros(3, 4, 4, dtype=torch.uint8), 1), "type uint8; expected floating point"),
            ((torch.zeros(3, 4, 4), 1.0), "labels of type float32; expected whole numbers"),
            ((torch.zeros(3, 4, 4), True), "labels of type bool"),
            ((torch.zeros(3, 4, 4), -1), "has the label -1; expected class numbers from 0"),
        ],
    )
    def test_says_what_is_wrong_with_an_item(self, item: Any, message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            list(batches([item], 2))
        assert "\n" not in str(caught.value)

    def test_refuses_images_of_two_shapes(self) -> None:
        pairs = [(torch.zeros(3, 4, 4), 0), (torch.zeros(3, 5, 4), 0)]
        with pytest.raises(DataError, match=r"shape \(3, 5, 4\), those before have \(3, 4, 4\)"):
            list(batches(pairs, 2))

    def test_a_spent_generator_says_so(self) -> None:
        stream = iter(list(numbered(3).batches(2)))
        list(batches(stream, 2))
        with pytest.raises(DataError, match="a generator can be read only once"):
            list(batches(stream, 2))

    @pytest.mark.parametrize("data", [numbered(3), [], None])
    def test_refuses_a_batch_size_of_zero(self, data: Any) -> None:
        with pytest.raises(UsageError, match="batch size"):
            batches(data, 0)

    def test_refuses_what_holds_no_images(self) -> None:
        with pytest.raises(DataError, match="cannot read images from a int"):
            batches(7, 2)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=r"holds no images; expected at least one$"):
            list(batches([], 2))

    def test_indices_out_of_range_end_a_loop(self) -> None:
        data = numbered(3)
        assert [label for _, label in data] == [0, 1, 2]
        assert data[-1][1] == 2
        with pytest.raises(IndexError, match="image 3 of 3"):
            data[3]
