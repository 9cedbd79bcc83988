"""Files of arrays and tables with labels: what is read, and what is refused in a line."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calls import called
from torch import nn

import ensembles
from ensembles.data import dataset
from ensembles.errors import DataError, UsageError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 2, 9))
Y = np.array([0, 1, 2, 0, 1, 2])
PIXELS = RNG.integers(0, 256, (6, 8, 9, 3), dtype=np.uint8)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


class TestReading:
    @pytest.mark.parametrize(
        ("names", "split", "part"),
        [
            (("x", "y"), "test", "all"), (("images", "labels"), "val", "all"),
            (("X", "Target"), "test", "all"), (("arr_0", "arr_1"), "train", "all"),
            (("x_test", "y_test"), "val", "test"), (("test_images", "test_labels"), "test", "test"),
            (("val_images", "val_labels"), "test", "val"),
        ],
    )  # fmt: skip
    def test_archives(self, tmp_path: Path, names: tuple[str, str], split: str, part: str) -> None:
        data = dataset(saved(tmp_path / "a.npz", **dict(zip(names, (X, Y), strict=True))), split)
        assert (data.split, data.shape, data.labels.tolist()) == (part, (2, 9), Y.tolist())
        images, labels = next(data.batches(4, start=1))
        assert torch.equal(images, torch.from_numpy(X[1:5]).float()) and labels.tolist() == [
            1,
            2,
            0,
            1,
        ]
        assert (str(data.normalization), data.preprocessing.pixels) == ("as given", "as they are")

    def test_splits_of_an_archive(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.npz", x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2])
        data = dataset(path)
        assert len(data) == 2 and len(data.of_split("train")) == 6
        with pytest.raises(DataError, match="has no split 'dev'; it has train, test"):
            dataset(path, "dev")

    @pytest.mark.parametrize(
        ("inputs", "labels"),
        [("x", "y"), ("x_test", "y_test"), ("images", "labels"), ("ecg", "ecg_labels"), ("X", "y"),
         ("data", "labels"), ("ecg", "y"), ("ecg-x", "ecg-y")],
    )  # fmt: skip
    def test_pairs_of_files(self, tmp_path: Path, inputs: str, labels: str) -> None:
        np.save(tmp_path / f"{inputs}.npy", X.astype(np.float32))
        np.save(tmp_path / f"{labels}.npy", Y)
        data = dataset(tmp_path / f"{inputs}.npy")
        assert torch.equal(data[3][0], torch.from_numpy(X[3]).float()) and data[3][1] == 0

    @pytest.mark.parametrize("suffix", [".csv", ".tsv"])
    def test_tables(self, tmp_path: Path, suffix: str) -> None:
        lines = ["a,Label,b,split", "1,cat,2.5,train", "3,dog,-1e3,test", "5,ant,7,test"]
        path = tmp_path / f"t{suffix}"
        path.write_text("\n".join(lines).replace(",", "\t" if suffix == ".tsv" else ","))
        data = dataset(path)
        assert (data.classes, data.labels.tolist(), data.split) == (("ant", "dog"), [1, 0], "test")
        assert next(data.batches(9))[0].tolist() == [[3.0, -1000.0], [5.0, 7.0]]

    @pytest.mark.parametrize(
        ("labels", "found", "classes"),
        [
            (Y[:, None], Y.tolist(), 3), (np.eye(4)[Y], Y.tolist(), 4),
            (Y.astype(np.float32), Y.tolist(), 3),
            (np.array(["b", "a", "c"] * 2), [1, 0, 2] * 2, 3), (Y.astype(bool), [0, 1, 1] * 2, 2),
        ],
    )  # fmt: skip
    def test_labels(self, tmp_path: Path, labels: Any, found: list[int], classes: int) -> None:
        data = dataset(saved(tmp_path / "a.npz", x=X, y=labels))
        assert data.labels.tolist() == found and len(data.classes) == classes

    @pytest.mark.parametrize(
        "pixels", [PIXELS, PIXELS.transpose(0, 3, 1, 2), PIXELS[..., 0], PIXELS[..., :1]]
    )
    def test_images_of_8_bits_are_images(self, tmp_path: Path, pixels: Any) -> None:
        from PIL import Image

        path = saved(tmp_path / "a.npz", images=pixels, labels=Y)
        data = dataset(path, normalize="imagenet")
        grey = pixels.shape[-1] != 3 and pixels.shape[1] != 3
        wanted = PIXELS[2][..., :1].repeat(3, 2) if grey else PIXELS[2]
        assert np.array_equal(data.raw()[0][2].permute(1, 2, 0).numpy(), wanted)
        resized = dataset(path, image_size=(6, 5), normalize="none")
        image = Image.fromarray(wanted).resize((6, 6), Image.Resampling.BILINEAR)  # 8x9: 6 by 6
        assert resized.shape == (3, 5, 5) and image.size == (6, 6)
        assert torch.equal(
            (resized[2][0] * 255).round().byte(),
            torch.from_numpy(np.asarray(image)[0:5, 0:5].copy()).permute(2, 0, 1),
        )

    def test_another_type_is_other_data(self, tmp_path: Path) -> None:
        x = np.arange(12).reshape(6, 2)
        one, two = (
            dataset(saved(tmp_path / f"{name}.npz", x=rows, y=Y))
            for name, rows in (("a", x), ("b", x.astype(np.float32)))
        )
        assert (one[1][0].dtype, two[1][0].dtype) == (torch.int64, torch.float32)
        assert one.content_hash != two.content_hash


def forged(path: Path, header: str, content: bytes = b"\0" * 16) -> Path:
    """An array whose header says what one likes."""
    text = header.ljust(117) + "\n"
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    path.write_bytes(start + content)
    np.save(path.with_name("labels.npy"), Y)
    return path


def shaped(folder: Path, shape: str) -> Path:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
    return forged(folder / "data.npy", header)


class Harm:
    def __reduce__(self) -> Any:
        return (open, ("/tmp/harm-was-done", "w"))


def objects(path: Path) -> Path:
    return forged(
        path, "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickle.dumps([Harm()])
    )


def bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("x", "y"):
            array = io.BytesIO()
            np.save(array, Y)
            archive.writestr(f"{name}.npy", array.getvalue())
    content = bytearray(path.read_bytes())
    place = content.rfind(b"PK\x01\x02", 0, content.rfind(b"PK\x01\x02"))
    content[place + 24 : place + 28] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: saved(p / "a.npz", a=X, b=Y), r"holds a, b; expected one array of inputs \(x,"),
        (lambda p: saved(p / "a.npz", x=X, inputs=X, y=Y), r"holds x, inputs, y; expected one"),
        (lambda p: saved(p / "a.npz", x=X, y=Y[:4]), r"has 6 inputs and 4 labels"),
        (lambda p: saved(p / "a.npz", x=X[:0], y=Y[:0]), r"has 0 inputs and 0 labels"),
        (lambda p: saved(p / "a.npz", x=X, y=Y - 1), r"has the label -1; expected class numbers"),
        (lambda p: saved(p / "a.npz", x=X, y=Y + 0.5), r"has labels such as 0\.5; expected whole"),
        (lambda p: saved(p / "a.npz", x=X, y=X), r"has labels of shape \(6, 2, 9\)"),
        (lambda p: saved(p / "a.npz", x=Y, y=Y), r"has inputs of shape \(6,\)"),
        (lambda p: saved(p / "a.npz", x=X + np.inf, y=Y), r"has inputs that are not finite"),
        (lambda p: saved(p / "a.npz", x=X + 1j, y=Y), r"type complex128; expected numbers"),
        (lambda p: saved(p / "a.npz", x=PIXELS[..., :2], y=Y), r"8-bit inputs of .* no images"),
        (lambda p: objects(p / "x.npy"), r"holds Python objects or records, which are not read"),
        (lambda p: shaped(p, "(10**12,)"),
         r"damaged|declares"),
        (lambda p: shaped(p, "(99999, 9)"),
         r"declares 3,599,964 bytes of shape \(99999, 9\), and holds 16"),
        (lambda p: shaped(p, "(-2, -2)"),
         r"declares 16 bytes of shape \(-2, -2\), and holds 16"),
        (lambda p: forged(p / "data.npy", "[" * 90), r"damaged or no such file"),
        (lambda p: bomb(p / "a.npz"), r"x unpacks from \d+ to 4,294,967,294 bytes; expected"),
        (lambda p: text(p / "a.npz", "PK"), r"a\.npz is damaged or no such file"),
        (lambda p: text(p / "a.csv", "1,2\n3,4\n"), r"begins with numbers; expected a line with"),
        (lambda p: text(p / "a.csv", "a,b\n3,4\n"), r"is a file; .* found the columns a, b"),
        (lambda p: text(p / "a.csv", "a,y,label\n3,4,1\n"), r"found the columns y and label"),
        (lambda p: text(p / "a.csv", "a,y\n3,4\nred,1"), r"column a holds .red.; expected num"),
        (lambda p: text(p / "a.csv", "a,b,y\n3,1,4\n,2,1\n"), r"column a is empty in line 3"),
        (lambda p: text(p / "a.csv", "a,y\n3,1\n3,\n"), r"column y is empty in line 3"),
        (lambda p: text(p / "a.csv", ",a,y\n0,3,4\n"), r"column without a name, as pandas writes"),
        (lambda p: text(p / "a.csv", "y\n3\n"), r"has no columns beside y"),
        (lambda p: text(p / "a.csv", ""), r"a\.csv is damaged or no such file: No columns"),
        (lambda p: text(p / "a.csv", "a,y\n1,2,3,4\n1\n"), r"expected|damaged|empty|column"),
    ],
)  # fmt: skip
def test_refused_in_a_line(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        dataset(make(tmp_path))
    assert "\n" not in str(caught.value) and not str(caught.value).startswith("unexpected")
    assert not Path("/tmp/harm-was-done").exists()


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_labels_beside_an_array_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "x_test.npy", X)
    with pytest.raises(
        DataError, match=r"looked for beside it as y_test\.npy, labels_test\.npy, .*"
    ):
        dataset(tmp_path / "x_test.npy")
    np.save(tmp_path / "y.npy", Y)
    np.save(tmp_path / "labels.npy", Y)
    with pytest.raises(DataError, match=r"labels\.npy and y\.npy is there; expected one"):
        dataset(tmp_path / "x_test.npy")


NETWORK = """
from torch import nn

class Series(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.stem, self.a, self.b = (nn.Conv1d(i, 8, 3, 1, 1) for i in (2, 8, 8))
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.a(x.relu())
        x = x + self.b(x.relu())
        return self.fc(x.mean(2))
"""


def test_series_are_measured_and_kept(tmp_path: Path) -> None:
    """The counts are those of a plain loop; a store keeps them by what the rows are."""
    names: dict[str, Any] = {}
    exec(NETWORK, names)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = names["Series"]().eval()
    data = dataset(saved(tmp_path / "a.npz", x=X, y=Y))
    net = ensembles.decompose(model, next(data.batches(4))[0])
    frame = ensembles.lesion(net, data, store=tmp_path / "s.db")
    rows = torch.from_numpy(X).float()
    with torch.no_grad():
        stem = model.stem(rows)
        first = model.fc((stem + model.b(stem.relu())).mean(2))  # block a deleted
        right = [int((out.argmax(1) == torch.from_numpy(Y)).sum()) for out in (model(rows), first)]
    assert frame["correct"].tolist()[:2] == right
    about = frame.attrs["provenance"]
    assert (about["preprocessing"], about["normalization"]) == ("as they are", "as given")
    again = ensembles.lesion(net, data, store=tmp_path / "s.db")
    assert again.attrs["store"]["measured"] == 0
    spectrum = ensembles.paths(net, data, images=2, progress=False)
    assert spectrum["paths"].tolist() == [1, 2, 1]


def test_images_in_an_archive_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: str
) -> None:
    digits = dataset("digits", limit=8)
    pixels, labels = digits.raw()
    path = saved(tmp_path / "a.npz", images=pixels.permute(0, 2, 3, 1).numpy(), labels=labels)
    small = ["--model", "resnet20", "--checkpoint", weights, "--blocks", "1", "--json"]
    call = partial(called, capsys, "lesion", *small)
    code, _, err = call("--dataset", str(path))
    assert code == 2 and "no normalisation is known" in err and err.count("\n") == 1
    code, out, err = call("--dataset", str(path), "--normalize", "digits")
    assert code == 0 and "images: as they are, normalised by digits (as asked)" in err
    code, named, _ = call("--dataset", "digits", "--limit", "8")
    rows = [
        [(row["correct"], row["loss"]) for row in json.loads(one)["rows"]] for one in (out, named)
    ]
    assert rows[0] == rows[1]
    rows_path = saved(tmp_path / "rows.npz", x=pixels.float().numpy(), y=labels)
    code, _, err = call("--dataset", str(rows_path), "--normalize", "digits")
    assert code == 2 and "holds rows that are taken as they are; leave out --normalize" in err
    code, _, err = call("--dataset", str(rows_path))
    assert code == 0 and "rows.npz: 3x32x32 each, values 0 to 2" in err
    assert "taken as they are; nothing is normalised\n" in err


def test_rows_are_not_normalised(tmp_path: Path) -> None:
    data = dataset(saved(tmp_path / "a.npz", x=X, y=Y))
    with pytest.raises(DataError, match="holds rows that are taken as they are, and are not"):
        data.with_normalization("imagenet")
    with pytest.raises(UsageError, match="expected 0 to 5"):
        data.taken([6])
    with pytest.raises(DataError, match="holds rows that are taken as they are; leave out"):
        dataset(tmp_path / "a.npz", normalize="imagenet")
