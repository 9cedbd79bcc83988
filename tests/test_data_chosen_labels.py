"""Labels that stand elsewhere than where they are looked for, and shards by their numbers."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ensembles.data import ImageDataset, dataset
from ensembles.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (8, 8), value).save(stream, "PNG")
    return stream.getvalue()


def shard(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))


def flat(folder: Path) -> None:
    for value in range(4):
        (folder / "val").mkdir(parents=True, exist_ok=True)
        (folder / "val" / f"{value}.png").write_bytes(png(value))
    lines = ["file,breed,size", *(f"val/{v}.png,{v % 3},{3 - v}" for v in range(4))]
    (folder.parent / "all.csv").write_text("\n".join(lines))


def parquet(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    folder.mkdir()
    rows = {"image": [{"bytes": png(v), "path": None} for v in range(4)],
            "label": [0, 0, 0, 0], "breed": [0, 1, 2, 0]}  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "test-00000-of-00001.parquet")


def shards(folder: Path) -> None:
    folder.mkdir()
    for number in range(2):
        files = {}
        for value in (2 * number, 2 * number + 1):
            files[f"{value}.png"] = png(value)
            files[f"{value}.cls"] = b"0"
            files[f"{value}.json"] = json.dumps({"label": 0, "breed": value % 3}).encode()
        shard(folder / f"toy-test-{number:03}.tar", files)


def table(folder: Path) -> None:
    folder.mkdir()
    rows = {"a": [0, 1, 2, 3], "label": [0] * 4, "breed": [0, 1, 2, 0]}
    pd.DataFrame(rows).to_csv(folder / "x.csv", index=False)


def archive(folder: Path) -> None:
    folder.mkdir()
    pixels = np.zeros((4, 8, 8), dtype=np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None]
    np.savez(folder / "x.npz", x=pixels, y=np.zeros(4, int), breed=np.array([0, 1, 2, 0]))


PLACES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "flat folder": (flat, "", "{top}/all.csv:breed"),
    "Parquet": (parquet, "", "breed"),
    "WebDataset": (shards, "", "breed"),
    "shards by numbers": (shards, "toy-test-{000..001}.tar", "breed"),
    "CSV": (table, "x.csv", "breed"),
    "arrays": (archive, "x.npz", "breed"),
}


def by_value(data: ImageDataset) -> dict[int, int]:
    """The label of each row, by the number that it holds."""
    scale = 1 if len(data.shape) == 1 else 255
    return {
        round(scale * float(row.flatten()[0])): int(label)
        for rows, labels in data.batches(2)
        for row, label in zip(rows, labels, strict=True)
    }


@pytest.mark.parametrize("name", PLACES)
def test_labels_of_a_column_or_a_file(name: str, tmp_path: Path) -> None:
    write, below, labels = PLACES[name]
    write(tmp_path / "x")
    place = tmp_path / "x" / below if below else tmp_path / "x"
    options = {} if below == "x.csv" else {"normalize": "none"}
    data = dataset(place, "test", labels=labels.format(top=tmp_path), **options)
    assert by_value(data) == {0: 0, 1: 1, 2: 2, 3: 0}
    with pytest.raises(DataError) as caught:
        dataset(place, labels=f"{tmp_path}/all.csv:bread" if name == "flat folder" else "bread")
    assert "bread" in str(caught.value)


def test_a_flat_folder_with_the_only_other_column(tmp_path: Path) -> None:
    flat(tmp_path / "x")
    (tmp_path / "own.txt").write_text("".join(f"{v}.png cat{v % 2}\n" for v in range(5)))
    data = dataset(tmp_path / "x" / "val", labels=tmp_path / "own.txt", normalize="none")
    assert data.classes == ("cat0", "cat1")
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.about_labels == (
        f"labels are those of {tmp_path / 'own.txt'}, which names 1 images more"
    )


@pytest.mark.parametrize(
    ("place", "labels", "message"),
    [
        ("x", "{top}/all.csv", "gives the images of .*val no labels: expected a line for each"),
        ("x", "{top}/none.csv", r"none\.csv"),
        ("y", "{top}/all.csv", r"y has class folders \(cat\), so that .*all.csv cannot give"),
        ("y/cat/{{0..9}}.tar", None, r"stands for 10 files, of which 10 are not there \(0\.tar\)"),
        ("y/{{9..0}}.tar", None, r"the numbers \{9\.\.0\} stand for no files"),
    ],
)
def test_labels_that_cannot_be_meant(
    place: str, labels: str | None, message: str, tmp_path: Path
) -> None:
    flat(tmp_path / "x")
    (tmp_path / "y" / "cat").mkdir(parents=True)
    (tmp_path / "y" / "cat" / "1.png").write_bytes(png(1))
    given: Any = None if labels is None else labels.format(top=tmp_path)
    with pytest.raises(DataError, match=message):
        dataset(tmp_path / place.format(), labels=given)


def test_named_data_have_labels_of_their_own() -> None:
    with pytest.raises(UsageError, match="digits has labels of its own; leave out 'breed'"):
        dataset("digits", labels="breed")
