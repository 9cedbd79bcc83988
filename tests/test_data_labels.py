"""Labels as people have them: class folders, files of classes, files of labels, and doubts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image

from ensembles.cards import Card
from ensembles.checkpoints.class_labels import labelled_for
from ensembles.data import ImageDataset, dataset
from ensembles.data.class_files import read_classes
from ensembles.data.class_numbers import class_numbers, class_order, imagenet_synsets
from ensembles.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def _cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))


def picture(path: Path, value: int) -> None:
    """An image whose red is its value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, 0, 0)).save(path, "PNG")


def folders(root: Path, names: Mapping[str, int] | list[str]) -> Path:
    for value, name in enumerate(names):
        picture(root / name / "x.png", value)
    return root


def card(count: int, *names: str) -> Card:
    return Card("one", "resnet20", count, classes=names)


def told(data: ImageDataset) -> dict[int, int]:
    """The label of each image by its red."""
    pixels, labels = data.raw()
    return dict(zip(pixels[:, 0, 0, 0].tolist(), labels.tolist(), strict=True))


def test_the_synsets_are_those_that_are_published() -> None:
    synsets = imagenet_synsets()
    assert len(set(synsets)) == 1000
    assert list(synsets) == sorted(synsets)
    assert [synsets.index(name) for name in ("n02102040", "n02979186", "n03417042")] == [
        217, 482, 569,
    ]  # English springer, cassette player, garbage truck  # fmt: skip


class TestOrder:
    @pytest.mark.parametrize(
        ("names", "order"),
        [
            (["1", "10", "2"], ("1", "2", "10")),
            (["010", "9", "0"], ("0", "9", "010")),
            (["1", "10", "a"], ("1", "10", "a")),
            (["b10", "b9"], ("b10", "b9")),
            (["٣", "2"], ("2", "٣")),
        ],
    )
    def test_numbers_are_sorted_as_numbers(self, names: list[str], order: tuple[str, ...]) -> None:
        assert class_order(names) == order

    def test_folders_that_are_numbers(self, tmp_path: Path) -> None:
        names = [str(number) for number in range(1, 13)]
        data = dataset(folders(tmp_path / "x", names))
        assert told(data) == {value: value for value in range(12)}
        same, line = labelled_for(card(12), data)
        assert same is data
        assert "0 = 1, 1 = 2, 2 = 3, ..., 11 = 12; as text they would be 0 = 1, 1 = 10," in line
        text, line = labelled_for(card(12), data, "text")
        assert told(text) == {int(name) - 1: place for place, name in enumerate(sorted(names))}
        assert "sorted as text, 0 = 1, 4 = 2, 5 = 3, ..., 3 = 12" in line
        assert text.content_hash != data.content_hash


class TestNumbers:
    @pytest.mark.parametrize(
        ("names", "count", "known", "numbers", "line"),
        [
            (["n02102040", "n02979186"], 1000, (), (217, 482), "ImageNet's 1,000 synsets, 217 = "),
            (["cat", "dog"], 2, (), (0, 1), "0 = cat, 1 = dog; the weights do not name their"),
            (["cat", "dog"], 2, ("cat", "dog"), (0, 1), ""),
            (["cat", "dog"], 2, ("dog", "cat"), (1, 0), "network's own names, 1 = cat, 0 = dog"),
            (["polar_bear"], 9, ("ant", "Polar Bear"), (1,), "own names, 1 = polar_bear"),
            (["2", "5"], 10, tuple("0123456789"), (2, 5), "own names, 2 = 2, 5 = 5"),
            (["0", "5"], 10, (), (0, 5), "class numbers are those of the names, 0 = 0, 5 = 5"),
            (["c00", "c05"], 10, (), (0, 5), "class numbers are those of the names, 0 = c00, 5 ="),
            (["c1", "c10", "c2"], 3, (), (0, 1, 2), "counted they would be 0 = c1, 1 = c2, 2 ="),
            (["1", "2"], 2, (), (0, 1), "the names are not the class numbers (--classes numbers"),
            (["cat", "dog"], 2, ("ship", "car"), (0, 1), "own names are others (ship, car, ...)"),
            (["0", "1"], 2, (), (0, 1), ""),
        ],
    )
    def test_the_first_way_that_holds(
        self, names: list[str], count: int, known: tuple[str, ...], numbers: tuple[int, ...],
        line: str,
    ) -> None:  # fmt: skip
        found = class_numbers(names, count, known=known)
        assert found.numbers == numbers
        assert line in found.told
        assert bool(line) == bool(found.told)

    @pytest.mark.parametrize("names", [["0", "1", "2"], ["c000", "c001", "c002"]])
    def test_the_first_of_many_classes_when_forced(self, names: list[str]) -> None:
        found = class_numbers(names, 10, force=True)
        assert found.numbers == (0, 1, 2)
        assert f"class numbers are those of the names, 0 = {names[0]}" in found.told

    @pytest.mark.parametrize(
        ("names", "count", "known", "reason"),
        [
            (["n02102040", "n02979186"], 10, (), "the network has 10 classes, it has 2 (n0210"),
            (["n02102040", "n99999999"], 1000, (), "1 WordNet names that are none of ImageNet's"),
            (["cat", "dog"], 5, ("a", "cat", "b", "c", "d"), "so class numbers would not agree"),
            (["crane", "dog"], 5, ("crane", "crane", "dog", "c", "d"), "would not agree; say"),
            (["1", "5"], 10, (), "--classes numbers that the names are the numbers"),
            (["0", "1", "2"], 10, (), "--classes numbers that the names are the numbers"),
            (["cat"], 10, (), "has 1 (cat), so class numbers would not agree (or these images"),
        ],
    )
    def test_refused_where_numbers_cannot_be_known(
        self, names: list[str], count: int, known: tuple[str, ...], reason: str
    ) -> None:
        with pytest.raises(DataError) as caught:
            class_numbers(names, count, known=known, where="it", force="0" not in names)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "text", "numbers"),
        [
            ("c.txt", "ant\ncat\ndog\n", (2, 1)),
            ("c.txt", "n01 ant\ndog a dog, domestic\ncat, feline\n", (1, 2)),
            ("c.txt", "cat 7\ndog 3\n", (3, 7)),
            ("c.txt", "# of the paper\n\n7\tcat\n3\tdog\n", (3, 7)),
            ("c.csv", "folder,index\ncat,7\ndog,3\n", (3, 7)),
            ("c.csv", "\ufeffindex,folder\r\n7,cat\r\n3,dog\r\n", (3, 7)),
            ("c.json", json.dumps({"cat": 7, "dog": 3}), (3, 7)),
            ("c.json", json.dumps(["ant", "cat", "dog"]), (2, 1)),
            ("c.json", json.dumps({"7": ["cat", "pet"], "3": ["dog", "pet2"]}), (3, 7)),
            ("c.json", json.dumps({"7": "cat", "3": "dog"}), (3, 7)),
        ],
    )
    def test_ways_to_write_classes(
        self, tmp_path: Path, name: str, text: str, numbers: tuple[int, int]
    ) -> None:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8", newline="")
        data = dataset(folders(tmp_path / "x", ["cat", "dog"]))
        same, line = labelled_for(card(8), data, path)
        assert told(same) == {0: numbers[1], 1: numbers[0]}
        assert f"class numbers are those of {path}, {numbers[1]} = cat, {numbers[0]} = dog" in line
        assert same.classes[numbers[1]] == "cat"
        assert same.limited(1).labels.tolist() == [numbers[1]]

    def test_folders_that_are_numbers_by_their_lines(self, tmp_path: Path) -> None:
        (tmp_path / "c").write_text("10\n9\n1\n")
        assert read_classes(tmp_path / "c", ["1", "9", "10"]) == {"10": 0, "9": 1, "1": 2}
        (tmp_path / "c").write_text("10 0\n9 1\n1 2\n")
        assert read_classes(tmp_path / "c", ["1", "9", "10"]) == {"10": 0, "9": 1, "1": 2}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("cat 1\n", "does not say which class 1 of x (all) are (dog); expected a line for"),
            ("cat 1\ncat 2\ndog 1\n", "gives the class 'cat' two numbers, 1, 2"),
            ("cat\ndog\ncat\n", "names 'cat' in several lines"),
            ("", "names no class"),
            ("cat 9999999\ndog 1\n", "class number 9999999; expected 0 to 999,999"),
        ],
    )
    def test_files_that_do_not_serve(self, tmp_path: Path, text: str, reason: str) -> None:
        path = tmp_path / "c.txt"
        path.write_text(text)
        with pytest.raises(DataError) as caught:
            class_numbers(["cat", "dog"], 2, classes=path, where="x (all)")
        assert reason in str(caught.value)

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(
            UsageError, match="no such file; expected a file, or text or numbers; did"
        ):
            class_numbers(["a"], 1, classes="txt")
        with pytest.raises(DataError, match=r"classes .*c.txt: cannot be read \(No such file"):
            class_numbers(["a"], 1, classes=tmp_path / "c.txt")

    def test_other_splits_are_numbered_alike(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            folders(tmp_path / "x" / split, ["cat", "dog"])
        (tmp_path / "c").write_text("cat 4\ndog 2\n")
        data, _ = labelled_for(card(5), dataset(tmp_path / "x"), tmp_path / "c")
        assert data.of_split("train").labels.tolist() == data.labels.tolist() == [4, 2]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Tiny ImageNet as it is unzipped: 6 images of 3 classes in each part."""
    root = tmp_path / "tiny"
    lines = []
    for value in range(6):
        synset = f"n{(7 * value) % 3:08d}"
        picture(root / "train" / synset / "images" / f"{synset}_{value}.JPEG", value)
        boxes = root / "train" / synset / f"{synset}_boxes.txt"
        boxes.write_text(f"{synset}_{value}.JPEG\t0\t0\t9\t9\n")
        picture(root / "val" / "images" / f"val_{value}.JPEG", value)
        picture(root / "test" / "images" / f"test_{value}.JPEG", value)
        lines.append(f"val_{value}.JPEG\t{synset}\t0\t0\t9\t9\n")
    (root / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    (root / "wnids.txt").write_text("n00000002\nn00000000\nn00000001\n")
    return root


class TestLayouts:
    def test_tiny_imagenet(self, tiny: Path) -> None:
        wanted = {value: value % 3 for value in range(6)}
        for split, part in (("test", "val"), ("val", "val"), ("train", "train")):
            data = dataset(tiny, split)
            assert (data.split, told(data)) == (part, wanted)
            assert data.classes == ("n00000000", "n00000001", "n00000002")
        assert dataset(tiny).about_labels.startswith(
            "test holds images without labels, so val is measured; labels are those of "
        )
        assert told(dataset(tiny / "val")) == wanted
        assert told(dataset(tiny / "train")) == wanted
        other, _ = labelled_for(card(3), dataset(tiny, "val"), tiny / "wnids.txt")
        assert told(other) == {value: [1, 2, 0][value % 3] for value in range(6)}

    @pytest.mark.parametrize("place", ["", "test", "test/images"])
    def test_images_without_labels_are_no_class(self, tiny: Path, place: str) -> None:
        (tiny / "val" / "val_annotations.txt").unlink()
        (tiny / "train").rename(tiny.parent / "train")
        with pytest.raises(DataError) as caught:
            dataset(tiny / place)
        assert "a file" in str(caught.value)
        assert "val_annotations.txt" in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("val.txt", "{name}.JPEG {label}"),
            ("val_map.tsv", "{name}.JPEG\t{synset}"),
            ("LOC_val_solution.csv", "{name},{synset} 85 1 499 272"),
            ("imagenet_2012_validation_synset_labels.txt", "{synset}"),
            ("flat/labels.csv", "{label},{name}.JPEG"),
            ("flat/of_pandas.csv", "{label}.0;{name}.JPEG"),
            ("val.words.txt", "val/{name}.JPEG breed{label} with words"),
            ("val.breeds.csv", "{name}.JPEG,a breed of {label}"),
            ("flat/dataset.json", '["{name}.JPEG", {label}]'),
            ("flat/metadata.jsonl", '{{"file_name": "{name}.JPEG", "label": {label}}}'),
            ("flat/metadata.csv", '"{name}.JPEG","a, b",{synset}'),
        ],
    )
    def test_flat_folders_with_a_file(self, tmp_path: Path, name: str, line: str) -> None:
        heads = {
            "LOC_val_solution.csv": "ImageId,PredictionString\n",
            "flat/labels.csv": "label,path\n",
            "flat/of_pandas.csv": "label;path\n",
            "flat/metadata.csv": "file_name,text,label\n",
        }
        flat = tmp_path / "flat"
        flat = flat if name.startswith("flat") else tmp_path / "val"
        synsets, lines, wanted = ("n01440764", "n01443537", "n01484850"), [], {}
        for value in range(11):
            label = (value * 5) % 3
            image = f"ILSVRC2012_val_{value + 1:08d}"
            picture(flat / f"{image}.JPEG", value)
            wanted[value] = label
            lines.append(line.format(name=image, label=label, synset=synsets[label]))
        text = heads.get(name, "") + "\n".join(lines) + "\n"
        if name.endswith(".json"):  # StyleGAN's
            text = f'{{"labels": [{",".join(lines)}]}}'
        (tmp_path / name).write_text(text)
        data = dataset(flat)
        assert told(data) == wanted
        assert data.about_labels == f"labels are those of {tmp_path / name}"
        same, _ = labelled_for(card(1000 if "synset" in line else 3), data)
        assert told(same) == wanted

    @pytest.mark.parametrize(
        ("name", "text", "reason"),
        [
            ("labels.txt", "1.png 0\n", "gives 1 of 2 images no label (2.png)"),
            ("labels.txt", "1.png 0\n2.png 1\n1.png 1\n", "gives 1.png the labels '0' and '1'"),
            ("val_ground_truth.txt", "1\n2\n", "numbers of ImageNet's development kit"),
            ("boxes.txt", "1.png 0 7 9\n2.png 1 7 9\n", "boxes.txt does not give a name and a l"),
            (
                "sizes.csv",
                "file,width,height\n1.png,4,4\n2.png,4,4\n",
                "labels that are understood",
            ),
            ("notes.txt", "two pictures\n", "or one of its columns, with --labels FILE:"),
        ],
    )
    def test_files_that_do_not_label_all(
        self, tmp_path: Path, name: str, text: str, reason: str
    ) -> None:
        for value in (1, 2):
            picture(tmp_path / "val" / f"{value}.png", value)
        (tmp_path / "val" / name).write_text(text)
        with pytest.raises(DataError) as caught:
            dataset(tmp_path / "val")
        assert reason in str(caught.value)

    def test_files_that_disagree(self, tmp_path: Path) -> None:
        picture(tmp_path / "val" / "1.png", 1)
        (tmp_path / "val" / "a.txt").write_text("1.png 0\n")
        (tmp_path / "val" / "b.txt").write_text("1.png 1\n")
        with pytest.raises(DataError, match=r"a.txt and .*b.txt give the images of .* different"):
            dataset(tmp_path / "val")

    def test_numbers_from_one_are_told(self, tmp_path: Path) -> None:
        for value in range(3):
            picture(tmp_path / "val" / f"{value}.png", value)
        (tmp_path / "val" / "labels.txt").write_text("0.png 1\n1.png 2\n2.png 3\n")
        data = dataset(tmp_path / "val")
        _, line = labelled_for(card(10), data)
        assert "the class numbers in the data, 1 to 3, none of them 0" in line
        assert torch.equal(data.labels, torch.tensor([1, 2, 3]))
