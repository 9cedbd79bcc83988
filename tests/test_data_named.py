"""The data sets that torchvision reads, from small files of their own format; no network."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import socket
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, SVHN, imagenet

from ensembles.data import dataset, known_datasets, public_sets
from ensembles.data.registry import SETS
from ensembles.errors import DataError

NAMES = ["cifar10", "cifar100", "svhn", "mnist", "fashion-mnist"]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder; checksums of the small files in it are not those of the real ones."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ENSEMBLES_DATA", str(folder))
    for name in NAMES:
        small = {"train": 20 if name == "cifar10" else 4, "test": 4}
        monkeypatch.setitem(SETS, name, replace(SETS[name], splits=small))
    return folder


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    for kind in (CIFAR10, CIFAR100, SVHN):
        monkeypatch.setattr(kind, "_check_integrity", lambda _: True)


def write_cifar(folder: Path, parts: dict[str, str], meta: str, names: str) -> np.ndarray:
    folder.mkdir()
    images = pixels(4, 3, 32, 32)
    for part, key in parts.items():
        content = {"data": images.reshape(4, -1), key: [3, 1, 4, 1]}
        (folder / part).write_bytes(pickle.dumps(content))
    (folder / meta).write_bytes(pickle.dumps({names: [f"class{i}" for i in range(10)]}))
    return images


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


class TestFormats:
    def test_cifar10(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        trust(monkeypatch)
        parts = {f"data_batch_{part}": "labels" for part in range(1, 6)} | {"test_batch": "labels"}
        images = write_cifar(root / "cifar-10-batches-py", parts, "batches.meta", "label_names")
        data = dataset("cifar10")
        assert np.array_equal(data.raw()[0].numpy(), images)
        assert data.labels.tolist() == [3, 1, 4, 1]
        assert data.classes[3] == "class3"
        assert str(data.normalization) == "cifar10"
        assert len(dataset("cifar-10", "train", limit=7)) == 7

    def test_cifar100(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        trust(monkeypatch)
        parts = {"train": "fine_labels", "test": "fine_labels"}
        images = write_cifar(root / "cifar-100-python", parts, "meta", "fine_label_names")
        data = dataset("cifar100", "val")
        assert np.array_equal(data.raw()[0].numpy(), images)
        assert data.labels.tolist() == [3, 1, 4, 1]

    def test_svhn(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        trust(monkeypatch)
        images = pixels(32, 32, 3, 4)
        content = {"X": images, "y": np.array([[1], [10], [2], [9]], dtype=np.uint8)}
        scipy.io.savemat(root / "test_32x32.mat", content)
        data = dataset("svhn", root=root, download=False)
        assert np.array_equal(data.raw()[0].numpy(), images.transpose(3, 2, 0, 1))
        assert data.labels.tolist() == [1, 0, 2, 9]
        assert data.classes == tuple("0123456789")

    @pytest.mark.parametrize(
        ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
    )
    def test_mnist(self, root: Path, name: str, folder: str) -> None:
        images = pixels(4, 28, 28)
        for part in ("train", "t10k"):
            write_idx(root / folder / "raw" / f"{part}-images-idx3-ubyte", images)
            labels = np.array([5, 0, 4, 1], dtype=np.uint8)
            write_idx(root / folder / "raw" / f"{part}-labels-idx1-ubyte", labels)
        data = dataset(name, download=False)
        found = data.raw()[0]
        assert data.shape == (3, 32, 32)
        assert np.array_equal(found[:, 1, 2:30, 2:30].numpy(), images)
        assert int(found[:, :, :2].sum() + found[:, :, 30:].sum() + found[..., :2].sum()) == 0
        assert torch.equal(found[:, 0], found[:, 2])
        assert data.labels.tolist() == [5, 0, 4, 1]
        table = {entry.name: entry for entry in known_datasets()}
        assert table[name].on_disk == ("train", "test")

    def test_second_reading_asks_torchvision_nothing(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_idx(root / "MNIST" / "raw" / "t10k-images-idx3-ubyte", pixels(4, 28, 28))
        labels = root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
        write_idx(labels, np.zeros(4, dtype=np.uint8))
        for part in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
            write_idx(root / "MNIST" / "raw" / part, np.zeros(1, dtype=np.uint8))
        first = dataset("mnist")
        with monkeypatch.context() as patch:
            patch.setattr(public_sets, "_torchvision_set", None)
            assert dataset("mnist").content_hash == first.content_hash
        write_idx(labels, np.ones(4, dtype=np.uint8))
        assert dataset("mnist").labels.tolist() == [1, 1, 1, 1]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine: its address and its folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.server_port}/", folder
        finally:
            serving.shutdown()
            thread.join()


def test_download_unpacks_and_keeps_standard_output_clean(
    server: tuple[str, Path],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, folder = server
    resources = []
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", pixels(4, 28, 28)), ("labels-idx1", pixels(4) % 10)):
            write_idx(folder / "plain", array)
            packed = gzip.compress((folder / "plain").read_bytes())
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(packed)
            resources.append((f"{part}-{kind}-ubyte.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(MNIST, "mirrors", [address])
    monkeypatch.setattr(MNIST, "resources", resources)
    asked, get = list[str](), SimpleHTTPRequestHandler.do_GET

    def counted(self: SimpleHTTPRequestHandler) -> None:
        asked.append(self.path)
        get(self)

    monkeypatch.setattr(SimpleHTTPRequestHandler, "do_GET", counted)
    with ThreadPoolExecutor(2) as pool:  # as two workers on one machine
        data, other = pool.map(dataset, ("mnist", "mnist"))
    assert len(data) == 4 and other.content_hash == data.content_hash
    # One of them fetches; torchvision asks for a file's address before the file.
    assert Counter(asked) == {f"/{name}": 2 for name, _ in resources}
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "100%" in shown.err
    assert dataset("mnist", download=False).content_hash == data.content_hash
    assert (root / "MNIST" / "raw" / "t10k-images-idx3-ubyte").is_file()


class TestRefusals:
    @pytest.mark.parametrize("name", NAMES)
    def test_without_a_network(
        self,
        name: str,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            print("Downloading ...")
            raise URLError("Name or service not known")

        for kind in (
            "mnist.download_and_extract_archive",
            "cifar.download_and_extract_archive",
            "svhn.download_url",
        ):
            monkeypatch.setattr(f"torchvision.datasets.{kind}", refuse)
        with pytest.raises(DataError) as caught:
            dataset(name)
        text = str(caught.value)
        assert text.startswith(f"{name} (test) is not in {root}, where ")
        assert "cannot be downloaded (" in text
        assert "Name or service not known" in text
        assert text.endswith("use the embedded data (--dataset digits), which needs no download")
        assert "\n" not in text
        assert capsys.readouterr().out == ""
        assert socket.getdefaulttimeout() is None

    @pytest.mark.parametrize("name", NAMES)
    def test_without_leave_to_download(self, name: str, root: Path) -> None:
        with pytest.raises(
            DataError, match="was looked for, and downloading is off; put the files"
        ):
            dataset(name, download=False)
        assert not list(root.iterdir())

    def test_damaged_files(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for part in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
                     "train-images-idx3-ubyte", "train-labels-idx1-ubyte"):  # fmt: skip
            write_idx(root / "MNIST" / "raw" / part, pixels(4, 28, 28))
            (root / "MNIST" / "raw" / part).write_bytes(b"\0\0")
        with pytest.raises(DataError, match=r"mnist \(test\) in .* is damaged or incomplete"):
            dataset("mnist")

    @pytest.mark.parametrize(
        ("images", "labels", "found"),
        [
            ((3, 28, 28), [1, 2, 3], "it holds 3 images of 32x32 of type uint8; expected 4 im"),
            ((4, 40, 40), [1, 2, 3, 4], "it holds 4 images of 44x44 of type uint8; expected 4"),
            ((4, 28, 28), [1, 2, 3, 250], "it holds the label 250; expected 0 to 9"),
            ((4, 28, 28), [1, 2, 3], "it holds 3 labels; expected 4"),
            ((4, 784), [1, 2, 3, 4], "is damaged or incomplete"),
        ],
    )
    def test_content_that_is_not_the_data_set(
        self, root: Path, images: tuple[int, ...], labels: list[int], found: str
    ) -> None:
        for part in ("train", "t10k"):
            write_idx(root / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", pixels(*images))
            array = np.array(labels, dtype=np.uint8)
            write_idx(root / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", array)
        with pytest.raises(DataError) as caught:
            dataset("mnist", download=False)
        assert found in str(caught.value)
        assert str(caught.value).startswith("mnist (test) in ")

    def test_checksums_are_torchvisions(self, root: Path) -> None:
        parts = {f"data_batch_{part}": "labels" for part in range(1, 6)} | {"test_batch": "labels"}
        write_cifar(root / "cifar-10-batches-py", parts, "batches.meta", "label_names")
        with pytest.raises(DataError, match=r"cifar10 .* is damaged or incomplete .*; remove its"):
            dataset("cifar10", download=False)

    def test_imagenet_names_its_files(self, root: Path) -> None:
        with pytest.raises(DataError) as caught:
            dataset("imagenet")
        text = str(caught.value)
        assert f"imagenet (val) is not in {root}, and it cannot be downloaded" in text
        assert "put ILSVRC2012_devkit_t12.tar.gz and ILSVRC2012_img_val.tar from image-net" in text
        assert "\n" not in text


def write_imagenet(folder: Path) -> None:
    """An unpacked ImageNet of two classes, in the form that torchvision leaves behind."""
    folder.mkdir()
    wnids = {"n01": ("tench", "Tinca tinca"), "n02": ("goldfish",)}
    torch.save((wnids, ["n01", "n02"]), folder / imagenet.META_FILE)
    for number, wnid in enumerate(wnids):
        (folder / "val" / wnid).mkdir(parents=True)
        for image in range(3):
            picture = Image.fromarray(pixels(260 + image, 300 + number, 3))
            picture.save(folder / "val" / wnid / f"{image}.JPEG")


class TestImagenet:
    def test_unpacked(self, root: Path) -> None:
        write_imagenet(root / "imagenet")
        data = dataset("imagenet", limit=4)
        assert (data.split, data.shape, data.classes) == (
            "val",
            (3, 224, 224),
            ("tench", "goldfish"),
        )
        assert data.labels.tolist() == [0, 0, 1, 1]
        images, _ = next(data.batches(3))
        assert images.shape == (3, 3, 224, 224)
        table = {entry.name: entry for entry in known_datasets()}
        assert table["imagenet"].on_disk == ("val",)

    def test_damaged_archives(self, root: Path) -> None:
        for name in ("ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_img_val.tar"):
            with tarfile.open(root / name, "w") as packed:
                packed.addfile(tarfile.TarInfo("x"), io.BytesIO())
        with pytest.raises(DataError, match=r"imagenet .* is damaged or incomplete"):
            dataset("imagenet")
