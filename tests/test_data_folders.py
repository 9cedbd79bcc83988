"""Trees of image files: order, sizes, the cache, and everything that can be wrong with them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ensembles
from ensembles.data import ImageDataset, cache, dataset, folders
from ensembles.data.sources import MemorySource
from ensembles.errors import DataError, DataWarning
from ensembles.lesions import Delete


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ENSEMBLES_CACHE", str(folder))
    return folder


def picture(path: Path, value: int = 0, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
    """Write an image of one grey value; its format follows from the file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).convert(mode).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """train and test with the classes cat and dog; the value of a test image is its place."""
    root = tmp_path / "animals"
    for value, name in enumerate(["cat/10.png", "cat/9.png", "dog/a.png", "dog/b.bmp"]):
        picture(root / "test" / name, value)
        picture(root / "train" / name, 100 + value)
    return root


def values(data: ImageDataset) -> list[int]:
    return [int(image[0, 0, 0]) for image in data.raw()[0]]


class TestReading:
    def test_order_is_by_class_then_by_name(self, tree: Path) -> None:
        data = dataset(tree)
        assert values(data) == [0, 1, 2, 3]
        assert data.labels.tolist() == [0, 0, 1, 1]
        assert (data.classes, data.split, data.shape) == (("cat", "dog"), "test", (3, 8, 8))
        assert values(dataset(tree, "training")) == [100, 101, 102, 103]

    def test_without_split_folders_all_is_taken(self, tree: Path) -> None:
        data = dataset(tree / "test", "train")
        assert data.split == "all"
        assert values(data) == [0, 1, 2, 3]

    def test_same_order_as_torchvision(self, tree: Path) -> None:
        from torchvision.datasets import ImageFolder

        theirs = ImageFolder(str(tree / "test"))
        scanned = folders.scan(tree, "test")
        assert list(zip(scanned.paths, scanned.labels, strict=True)) == theirs.samples

    def test_validation_stands_in_for_a_missing_test(self, tree: Path) -> None:
        (tree / "test").rename(tree / "valid")
        assert dataset(tree).split == "valid"

    def test_classes_are_numbered_as_in_training(self, tree: Path) -> None:
        for image in (tree / "test" / "cat").iterdir():
            image.unlink()
        (tree / "test" / "cat").rmdir()
        assert dataset(tree).labels.tolist() == [1, 1]

    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
    def test_every_mode_becomes_rgb(self, tmp_path: Path, mode: str) -> None:
        picture(tmp_path / "x" / "a" / "one.png", 255, mode=mode)
        assert torch.all(dataset(tmp_path / "x").raw()[0] == 255)

    def test_transparent_palettes_read_as_torchvision_reads_them(
        self, tmp_path: Path, recwarn: pytest.WarningsRecorder
    ) -> None:
        path = tmp_path / "x" / "a" / "one.png"
        path.parent.mkdir(parents=True)
        colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(colours).quantize(16).save(path, transparency=bytes(range(16)))
        pixels = dataset(tmp_path / "x").raw()[0][0]
        assert not [warning for warning in recwarn if "alette" in str(warning.message)]
        plain = np.asarray(Image.open(path).convert("RGB"))
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), plain)

    def test_other_files_are_passed_over_and_counted(self, tree: Path) -> None:
        (tree / "test" / "notes.txt").write_text("x")
        (tree / "test" / "cat" / "Thumbs.db").write_text("x")
        (tree / "test" / "cat" / ".hidden.png").write_text("x")
        data = dataset(tree)
        assert len(data) == 4
        assert data.ignored_files == 3

    def test_lazy_images_are_the_same(self, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        held = dataset(tree)
        monkeypatch.setattr(folders, "_MEMORY", 0)
        lazy = dataset(tree)
        for size in (1, 3, 4):
            for (images, labels), (wanted, numbers) in zip(
                lazy.batches(size, start=1), held.batches(size, start=1), strict=True
            ):
                assert torch.equal(images, wanted)
                assert torch.equal(labels, numbers)
        assert torch.equal(lazy[2][0], held[2][0])
        assert lazy.limited(2).labels.tolist() == [0, 1]
        assert lazy.content_hash == dataset(tree).content_hash != lazy.limited(2).content_hash
        with pytest.raises(DataError, match="is read from its files, as 4 images of 3x8x8"):
            lazy.raw()

    def test_resizing_is_torchvisions(self, tmp_path: Path) -> None:
        from torchvision.transforms import v2

        path = tmp_path / "x" / "a" / "one.png"
        path.parent.mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        wanted = v2.Compose([v2.Resize(72), v2.CenterCrop(70), v2.PILToTensor()])(Image.open(path))
        images, _ = next(dataset(tmp_path / "x", image_size=(72, 70)).batches(1))
        assert torch.equal((images[0] * 255).round().to(torch.uint8), wanted)
        picture(tmp_path / "x" / "a" / "two.png", size=(40, 50))
        assert dataset(tmp_path / "x", image_size=32).shape == (3, 32, 32)


class TestCache:
    def test_second_reading_decodes_nothing(
        self, tree: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = dataset(tree)
        assert len(list(cache_folder.iterdir())) == 1

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("decoded again")

        monkeypatch.setattr(folders, "decode", refuse)
        again = dataset(tree)
        assert again.content_hash == first.content_hash
        assert values(dataset(tree, limit=2)) == [0, 2]

    def test_a_changed_file_is_read_again(self, tree: Path, cache_folder: Path) -> None:
        before = dataset(tree).content_hash
        path = picture(tree / "test" / "cat" / "9.png", 77)
        stamp = path.stat().st_mtime_ns + 1_000_000
        os.utime(path, ns=(stamp, stamp))
        after = dataset(tree)
        assert values(after) == [0, 77, 2, 3]
        assert after.content_hash != before
        picture(tree / "test" / "dog" / "c.png", 5)
        assert values(dataset(tree)) == [0, 77, 2, 3, 5]
        assert len(list(cache_folder.iterdir())) == 1

    def test_a_limit_reads_only_its_images(self, tree: Path, cache_folder: Path) -> None:
        (tree / "test" / "cat" / "9.png").write_bytes(b"damaged")
        data = dataset(tree / "test", limit=2, image_size=8)
        assert values(data) == [0, 2]
        assert not cache_folder.exists()

    @pytest.mark.parametrize("content", [b"", b"not a tensor file at all"])
    def test_a_damaged_entry_is_made_again(
        self, tree: Path, cache_folder: Path, content: bytes
    ) -> None:
        good = dataset(tree).content_hash
        (entry,) = cache_folder.iterdir()
        entry.write_bytes(content)
        assert dataset(tree).content_hash == good
        assert cache.load(entry.stem, folders.scan(tree, "test").key) is not None

    def test_no_damaged_byte_goes_unseen(self, cache_folder: Path) -> None:
        pixels = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2)
        cache.save("slot", "key", MemorySource(pixels, torch.tensor([1])), ("a", "b"))
        (entry,) = cache_folder.iterdir()
        whole = entry.read_bytes()
        for place in range(len(whole)):
            entry.write_bytes(whole[:place])
            assert cache.load("slot", "key") is None
            entry.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            found = cache.load("slot", "key")
            assert found is None or (
                torch.equal(found[0].images, pixels) and found[1] == ("a", "b")
            )

    def test_a_folder_that_cannot_be_written_is_done_without(
        self, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("x")
        monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "file" / "cache"))
        assert values(dataset(tree)) == [0, 1, 2, 3]

    def test_two_processes_make_it_at_once(self, tmp_path: Path, cache_folder: Path) -> None:
        for value in range(60):
            picture(tmp_path / "x" / f"{value % 4}" / f"{value}.png", value)
        code = f"import ensembles.data as d; print(d.dataset({str(tmp_path / 'x')!r}).content_hash)"
        running = [
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        hashes = [process.communicate(timeout=120)[0].strip() for process in running]
        assert hashes[0] == hashes[1] == dataset(tmp_path / "x").content_hash
        assert len(list(cache_folder.glob("*.safetensors"))) == 1

    def test_of_two_that_need_it_one_makes_it(
        self, tree: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made, decode, start = list[int](), folders.decode, threading.Barrier(2)

        def slow(*arguments: object, **options: object) -> object:
            made.append(1)
            time.sleep(0.2)
            return decode(*arguments, **options)

        def both() -> list[int]:
            start.wait()
            return values(dataset(tree))

        monkeypatch.setattr(folders, "decode", slow)
        with ThreadPoolExecutor(2) as pool:
            found = [one.result() for one in [pool.submit(both) for _ in range(2)]]
        assert found == [[0, 1, 2, 3]] * 2 and made == [1]

    def test_readers_never_see_half_an_entry(self, cache_folder: Path) -> None:
        sources = [
            MemorySource(torch.full((50, 3, 16, 16), value, dtype=torch.uint8), torch.arange(50))
            for value in range(2)
        ]
        cache.save("slot", "key", sources[0], ("a",))

        def write(turn: int) -> None:
            cache.save("slot", "key", sources[turn % 2], ("a",))

        with ThreadPoolExecutor(3) as pool:
            writing = [pool.submit(write, turn) for turn in range(30)]
            for _ in range(30):
                found = cache.load("slot", "key")
                assert found is not None
                assert found[0].digest in {source.digest for source in sources}
            assert [one.result() for one in writing] == [None] * 30
        assert [path.name for path in cache_folder.iterdir()] == ["slot.safetensors"]

    @pytest.mark.assets
    def test_ten_thousand_images_start_within_a_second(self, cifar_jpeg_test: Path) -> None:
        first = dataset(cifar_jpeg_test)
        start = time.perf_counter()
        again = dataset(cifar_jpeg_test)
        assert time.perf_counter() - start < 1
        assert len(again) == 10_000
        assert again.labels.bincount().tolist() == [1000] * 10
        assert again.content_hash == first.content_hash


def refusal(folder: Path, split: str = "test", **arguments: object) -> str:
    with pytest.raises(DataError) as caught:
        list(dataset(folder, split, **arguments).batches(2))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pixels_that_nobody_normalises_are_told_of_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "x" / name / "1.png", 51)
    for data in (dataset(tmp_path / "x"), dataset(tmp_path / "x").limited(1)):
        with pytest.warns(DataWarning, match=r"no normalisation of .*x is known, so that its pix"):
            images, _ = next(data.batches(2))
        assert images[0, 0, 0, 0].item() == pytest.approx(51 / 255)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(list(data.batches(1))) == len(data)
            list(dataset(tmp_path / "x").with_normalization("imagenet").batches(1))
            list(dataset(tmp_path / "x", normalize="none").batches(1))


def test_places_among_fewer_names_than_classes_are_told_of(tmp_path: Path) -> None:
    net = ensembles.decompose(ensembles.create_model("resnet20").eval(), torch.rand(2, 3, 8, 8))
    for name in ("n02102040", "n03417042"):
        picture(tmp_path / "x" / name / "1.png", 9)
    data = dataset(tmp_path / "x", normalize="none")
    told = r"places among its 2 names \(n02102040, n03417042\), and the network has 10 classes"
    with pytest.warns(DataWarning, match=told):
        ensembles.lesion(net, data, [Delete((1,))])
    with pytest.warns(DataWarning, match=told):
        ensembles.paths(net, data, direction="logits", signs=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        numbers = {"n02102040": 2, "n03417042": 7}
        frame = ensembles.lesion(net, data.renumbered(numbers, tuple("abcdefghij")), [Delete((1,))])
        assert frame.total.tolist() == [2, 2]


class TestRefusals:
    def test_nothing_there(self, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        assert "holds no images (found nothing); expected CLASS/IMAGE" in refusal(tmp_path / "x")
        (tmp_path / "x" / "labels.csv").write_text("a")
        assert "holds no images (found 1 other files)" in refusal(tmp_path / "x")
        (tmp_path / "x" / "labels.dat").write_text("a")
        assert "is a file; expected a folder" in refusal(tmp_path / "x" / "labels.dat")
        assert f"there is no folder {tmp_path / 'y'}" in refusal(tmp_path / "y")

    def test_images_without_class_folders(self, tmp_path: Path) -> None:
        picture(tmp_path / "x" / "one.png")
        text = refusal(tmp_path / "x")
        assert "x is nested wrongly: found an image at one.png, expected CLASS/IMAGE or" in text

    def test_one_level_too_deep(self, tree: Path, tmp_path: Path) -> None:
        (tmp_path / "outer").mkdir()
        tree.rename(tmp_path / "outer" / "animals")
        text = refusal(tmp_path / "outer")
        assert "found an image at animals/test/cat/10.png, expected CLASS/IMAGE or SPLIT" in text
        assert text.endswith(f"if its class is 'cat', give the folder {tmp_path}/outer/animals")

    def test_images_in_a_folder_below_their_class(self, tree: Path) -> None:
        picture(tree / "test" / "cat" / "more" / "x.png")
        assert "found an image at cat/more/x.png, expected CLASS/IMAGE" in refusal(tree)

    def test_a_split_without_class_folders(self, tree: Path) -> None:
        for path in list((tree / "test").glob("*/*")):
            path.rename(tree / "test" / (path.parent.name + path.name))
        text = refusal(tree)
        assert f"{tree}/test is nested wrongly: found an image at cat10.png" in text

    def test_split_folders_are_no_classes(self, tmp_path: Path) -> None:
        picture(tmp_path / "x" / "test" / "1.png")
        picture(tmp_path / "x" / "Train" / "1.png")
        text = refusal(tmp_path / "x")
        assert "x is nested wrongly: found an image at Train/1.png, expected CLASS/IMAGE" in text
        assert text.endswith(f"into a folder of its own below {tmp_path}/x/Train")
        picture(tmp_path / "x" / "cat" / "1.png")
        assert dataset(tmp_path / "x").classes == ("Train", "cat", "test")

    def test_a_class_without_images(self, tree: Path) -> None:
        (tree / "test" / "eel").mkdir()
        (tree / "train" / "eel").mkdir()
        (tree / "test" / "eel" / "x.npy").write_text("")
        assert "eel holds no images (found 1 other files)" in refusal(tree)

    def test_a_missing_split(self, tree: Path) -> None:
        text = refusal(tree, "tests")
        assert text.endswith("has no split 'tests'; it has test, train; did you mean test?")
        assert "no split folders, has no split 'trian'" in refusal(tree / "test", "trian")

    def test_classes_that_training_lacks(self, tree: Path) -> None:
        picture(tree / "test" / "eel" / "1.png")
        assert "has 1 class folders that train lacks (eel)" in refusal(tree)

    @pytest.mark.parametrize("content", [b"", b"nonsense", None])
    @pytest.mark.parametrize("lazy", [False, True])
    def test_a_damaged_image_is_named(
        self, tree: Path, content: bytes | None, lazy: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if lazy:
            monkeypatch.setattr(folders, "_MEMORY", 0)
        path = tree / "test" / "dog" / "a.png"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if content is None else content)
        text = refusal(tree)
        assert f"cannot decode the image {path} (" in text
        assert content is None or ": cannot identify image file; replace" in text
        assert text.endswith("; replace or remove the file")
        assert text == refusal(tree, image_size=8)

    def test_deep_pixels_are_not_squeezed(self, tmp_path: Path) -> None:
        path = tmp_path / "x" / "a" / "one.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(path)
        message = refusal(tmp_path / "x")
        # "I;16", or "I" in older releases of Pillow
        assert re.search("one.png has pixels of mode I(;16)?; expected 8 bits a channel", message)

    def test_formats_that_run_programs_are_not_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "x" / "a" / "one.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(path, format="EPS")
        assert "cannot identify image file" in refusal(tmp_path / "x")

    def test_sizes_that_differ(self, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        odd = picture(tree / "test" / "dog" / "a.png", size=(9, 7))
        text = refusal(tree)
        assert f"{tree}/test/cat/10.png has 8x8 pixels, {odd} has 9x7; make them equal" in text
        monkeypatch.setattr(folders, "_PROBES", 1)
        assert refusal(tree) == text

    def test_links_to_nothing(self, tree: Path) -> None:
        (tree / "test" / "dog" / "c.png").symlink_to(tree / "gone.png")
        assert "dog/c.png: No such file or directory; expected a readable" in refusal(tree)

    def test_files_that_vanish(self, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folders, "_MEMORY", 0)
        data, unread = dataset(tree), dataset(tree, image_size=4)
        (tree / "test" / "dog" / "a.png").unlink()
        with pytest.raises(DataError, match=r"the image .*a.png: cannot be read \(No such file"):
            list(data.batches(2))
        with pytest.raises(DataError, match=r"the image .*a.png: cannot be read \(No such file"):
            _ = unread.content_hash
