"""Images in tar files and tables: read where they lie, and within bounds."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ensembles.data import ImageDataset, dataset, folders
from ensembles.data.layouts import table_files, tar_members
from ensembles.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def _cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))


def picture(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def told(data: ImageDataset) -> dict[int, int]:
    """The label of each image by its red, read in batches."""
    return {
        round(255 * float(image[0, 0, 0])): int(label)
        for images, labels in data.batches(3)
        for image, label in zip(images, labels, strict=True)
    }


def refusal(place: Path, split: str = "test") -> str:
    with pytest.raises(DataError) as caught:
        list(dataset(place, split).batches(3))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pack(path: Path, files: Sequence[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


WANTED = {value: (value * 2) % 3 for value in range(7)}
LONG = "of a name that no header of an old tar file holds, " * 5


class TestShards:
    @pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    @pytest.mark.parametrize(
        "label",
        [
            lambda number: ("cls", str(number)),
            lambda number: ("cls", f"{number}\n"),
            lambda number: ("json", json.dumps({"label": number, "text": "a"})),
            lambda number: ("cls", "acb"[number]),
        ],
        ids=["number", "line", "json", "name"],
    )
    @pytest.mark.parametrize("lazy", [False, True])
    def test_webdataset(
        self,
        tmp_path: Path,
        form: int,
        label: Callable[[int], tuple[str, str]],
        lazy: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if lazy:
            monkeypatch.setattr(folders, "_MEMORY", 0)
        files = []
        for value, number in WANTED.items():
            suffix, text = label(number)
            key = f"./{value % 2}/{LONG if value == 3 else ''}{value:04d}"
            files += [(f"{key}.{suffix}", text.encode()), (f"{key}.png", picture(value))]
            files += [(f"{key}.txt", b"a caption")]
        pack(tmp_path / "x" / "toy-val-000000.tar", files[:9], form)
        pack(tmp_path / "x" / "toy-val-000001.tar", files[9:], form)
        pack(tmp_path / "x" / "toy-train-000000.tar", files[:3], form)
        data = dataset(tmp_path / "x")
        names = label(0)[1] == "a"
        assert told(data) == {v: [0, 2, 1][n] if names else n for v, n in WANTED.items()}
        assert data.classes == (("a", "b", "c") if names else ("0", "1", "2"))
        assert (data.split, data.named, data.ignored_files) == ("val", names, 7)
        assert len(dataset(tmp_path / "x", "train")) == 1
        assert len(dataset(tmp_path / "x" / "toy-val-000001.tar", "val")) == 4

    def test_a_packed_tree(self, tmp_path: Path) -> None:
        files = [(f"top/val/n{number}/{v}.png", picture(v)) for v, number in WANTED.items()]
        files += [("top/train/n0/x.png", picture(99)), ("top/train/n0/y.txt", b"")]
        data = dataset(pack(tmp_path / "x.tar", files))
        assert told(data) == WANTED
        assert data.classes == ("n0", "n1", "n2")
        assert "labels are the folders of the images" in data.about_labels

    @pytest.mark.parametrize(
        ("files", "found"),
        [
            ([("a.png", b"x"), ("b.png", b"x"), ("b.cls", b"1")], "has no label for a.png; expec"),
            ([("a.png", b"x")], "has no label for a.png; expected a file of the same name"),
            ([("a.png", b"x"), ("a.jpg", b"x"), ("a.cls", b"1")], "holds two images of the name"),
            ([("a.txt", b"x")], "holds no images; expected images of .jpg"),
            ([("a.png", b"x"), ("a.cls", b"")], "the label a.cls is ''; expected one number or"),
            ([("a.png", b"x"), ("a.cls", b"\xff")], "the label a.cls is no text"),
            ([("a.png", b"x"), ("a.json", b"{}")], "a.json holds no label; expected one of label"),
            ([("a.png", b"x"), ("a.json", b"[" * 9999)], "a.json is no JSON that can be read"),
            ([("a.png", b"x"), ("a.cls", b"1")], "cannot decode the image"),
            ([("a.png", b"x"), ("a.cls", b"9999999")], "class number 9999999; expected 0 to"),
        ],
    )
    def test_refused(self, tmp_path: Path, files: list[tuple[str, bytes]], found: str) -> None:
        assert found in refusal(pack(tmp_path / "x.tar", files))

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            (lambda whole: whole[:700], "is cut: its last member ends at byte 1,024, it at 700"),
            (lambda whole: b"\x1f\x8b" + whole[2:], "it is compressed, unpack it first"),
            (lambda whole: whole[:9] + b"x" + whole[10:], "is no tar file: the checksum of a head"),
            (lambda whole: whole[:1033] + b"x" + whole[1034:], "is damaged at byte 1,024"),
            (lambda _: b"", "is no tar file (0 bytes)"),
        ],
    )
    def test_damaged(self, tmp_path: Path, change: Callable[[bytes], bytes], found: str) -> None:
        path = pack(tmp_path / "x.tar", [("a.png", picture(0)), ("a.cls", b"1")])
        path.write_bytes(change(path.read_bytes()))
        assert found in refusal(path)

    def test_headers_that_ask_for_too_much(self, tmp_path: Path) -> None:
        for kind, size, found in (
            (tarfile.XHDTYPE, tar_members._MOST_EXTENSION + 1, "has a header of 1,048,577 bytes"),
            (tarfile.GNUTYPE_SPARSE, 0, "holds sparse files; expected plain ones"),
            (tarfile.REGTYPE, 2**40, "is cut: what begins at byte 0 has 1,099,511,627,776 bytes"),
        ):
            about = tarfile.TarInfo("a.png")
            about.type, about.size = kind, size
            path = tmp_path / "x.tar"
            with path.open("wb") as file:
                file.write(about.tobuf(tarfile.GNU_FORMAT))
                file.truncate(2**21)
            assert found in refusal(path)

    def test_links_out_of_the_archive_are_nothing(self, tmp_path: Path) -> None:
        path = pack(tmp_path / "x.tar", [("a.png", picture(5)), ("a.cls", b"1")])
        with tarfile.open(path, "a") as archive:
            about = tarfile.TarInfo("b.png")
            about.type, about.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(about)
        assert told(dataset(path)) == {5: 1}


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(
    labels: Sequence[Any], *, features: Mapping[str, Any] | None = None, name: str = "label",
    plain: bool = False,
) -> Any:  # fmt: skip
    images = [picture(value) for value in range(len(labels))]
    held = images if plain else [{"bytes": one, "path": "x.png"} for one in images]
    column = pa.array(held, type=pa.binary() if plain else STRUCT)
    found = pa.table({"image": column, name: pa.array(labels)})
    if features is None:
        return found
    noted = json.dumps({"info": {"features": features}})
    return found.replace_schema_metadata({"huggingface": noted})


NAMES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["b", "a", "c"]}}


def saved(folder: Path, what: Any, rows: int = 2) -> None:
    """As ``Dataset.save_to_disk`` does."""
    folder.mkdir(parents=True)
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), what.schema) as writer:
        writer.write_table(what, max_chunksize=rows)
    (folder / "state.json").write_text('{"_data_files": []}')
    (folder / "dataset_info.json").write_text("{}")


class TestTables:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("form", ["parquet", "hub", "disk", "plain", "file"])
    def test_forms(
        self, tmp_path: Path, form: str, lazy: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if lazy:
            monkeypatch.setattr(folders, "_MEMORY", 0)
        place, labels = tmp_path / "x", list(WANTED.values())
        place.mkdir()
        (place / "data").mkdir()
        if form == "disk":
            (place / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
            saved(place / "test", table(labels, features=NAMES))
            saved(place / "train", table([0], features=NAMES))
        elif form == "file":
            with pa.ipc.new_file(str(place / "x.arrow"), table(labels).schema) as writer:
                writer.write_table(table(labels), max_chunksize=3)
        elif form == "hub":
            path = place / "data" / "validation-00000-of-00001.parquet"
            pq.write_table(table(labels, features=NAMES), path, row_group_size=2)
            pq.write_table(table([0, 1]), place / "data" / "train-00000-of-00001.parquet")
        else:
            pq.write_table(table(labels, plain=form == "plain"), place / "test.parquet")
        data = dataset(place)
        assert told(data) == WANTED
        assert told(data.limited(3)) == {0: 0, 2: 1, 4: 2}
        named = form in ("disk", "hub")
        assert (data.classes, data.named) == (("b", "a", "c") if named else ("0", "1", "2"), named)

    def test_names_as_labels(self, tmp_path: Path) -> None:
        pq.write_table(table(["dog", "cat", "dog"], name="class"), tmp_path / "x.parquet")
        data = dataset(tmp_path / "x.parquet")
        assert (told(data), data.classes) == ({0: 1, 1: 0, 2: 1}, ("cat", "dog"))
        assert data.about_labels == "labels are the column class"

    @pytest.mark.parametrize(
        ("found", "reason"),
        [
            (table([0, -1]), "has the label -1 in the column label, which marks images without"),
            (table([0, None]), "has the label 'None' in the column label; expected a class num"),
            (table([0.5, 1]), "has the label '0.5' in the column label"),
            (table([0, 3], features=NAMES), "has the label 3 of 3 named classes"),
            (
                table([0, 1], name="mood"),
                "has no column of labels (columns: image, mood)",
            ),
            (pa.table({"x": [1], "label": [0]}), "has no column of images (bytes of image files)"),
            (pa.table({"image": pa.array([], STRUCT), "label": []}), "has 0 rows; expected 1 to"),
            (
                pa.table({"image": pa.array([{"path": "a.png"}], STRUCT), "label": [0]}),
                "row 0 holds no image; its path alone is given; expected its bytes",
            ),
        ],
    )
    def test_refused(self, tmp_path: Path, found: Any, reason: str) -> None:
        pq.write_table(found, tmp_path / "x.parquet")
        assert reason in refusal(tmp_path / "x.parquet")
        saved(tmp_path / "y", found)
        assert reason in refusal(tmp_path / "y")

    def test_damaged(self, tmp_path: Path) -> None:
        path = tmp_path / "x.parquet"
        for content in (b"", b"PAR1", b"PAR1" + bytes(99) + b"PAR1"):
            path.write_bytes(content)
            assert "is damaged or no table of images: " in refusal(path)
        saved(tmp_path / "y", table([0, 1, 2]))
        arrow = tmp_path / "y" / "data-00000-of-00001.arrow"
        whole = arrow.read_bytes()
        for content in (
            b"",
            b"x" * 99,
            whole[: len(whole) // 2],
            b"\xff\xff\xff\xff\xff\xff\xff\x7f",
        ):
            arrow.write_bytes(content)
            assert "data-00000-of-00001.arrow" in refusal(tmp_path / "y")

    def test_no_flipped_byte_ends_the_process(self, tmp_path: Path) -> None:
        """Offsets and sizes of another hand are not followed out of the file."""
        saved(tmp_path / "y", table([0, 1]), rows=9)
        arrow = tmp_path / "y" / "data-00000-of-00001.arrow"
        whole = arrow.read_bytes()
        for place in range(0, len(whole), 7):
            arrow.write_bytes(whole[:place] + bytes([whole[place] ^ 0x7F]) + whole[place + 1 :])
            try:
                list(dataset(tmp_path / "y").batches(2))
            except DataError as error:
                assert "\n" not in str(error)

    def test_bombs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one = pa.DictionaryArray.from_arrays(
            pa.array([0] * 200_000, pa.int32()), pa.array([picture(7)], pa.binary())
        )
        bomb = pa.table({"image": one, "label": pa.array([0] * 200_000)})
        path = tmp_path / "x.parquet"
        pq.write_table(bomb, path, row_group_size=200_000, store_schema=False)
        rows = table_files.open_table(path).column(0, "image")
        assert rows.nbytes < 2**20  # 15 MB, were each row to have its own bytes
        monkeypatch.setattr(table_files, "MOST_GROUP", 1000)
        pq.write_table(table([0] * 99), path)
        assert "x.parquet has a group of 99 rows with " in refusal(path)
        packed = pa.ipc.IpcWriteOptions(compression="zstd")
        schema = table([0]).schema
        with pa.ipc.new_stream(str(tmp_path / "z.arrow"), schema, options=packed) as writer:
            writer.write_table(table([0]))
        assert "z.arrow holds compressed messages" in refusal(tmp_path / "z.arrow")

    def test_without_pyarrow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pq.write_table(table([0]), tmp_path / "x.parquet")
        monkeypatch.setattr("ensembles.data.layouts.image_tables.find_spec", lambda _: None)
        assert "needs the package pyarrow: pip install 'residual-ensembles[parquet]'" in refusal(
            tmp_path / "x.parquet"
        )
