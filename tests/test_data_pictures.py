"""Encoded images: the same bytes at every reading, 8 bits a channel, and bounds that hold."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ensembles.data import ImageDataset, dataset, encoded, folders, pictures
from ensembles.errors import DataError


@pytest.fixture(autouse=True)
def _cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))


def chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join(
        (struct.pack(">I", len(content)), kind, content,
         struct.pack(">I", zlib.crc32(kind + content)))
    )  # fmt: skip


def png(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of zeros, without an array of its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + -(-width * channels * depth // 8))
    pack = zlib.compressobj(9)
    packed = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    about = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", about), chunk(b"IDAT", packed), chunk(b"IEND", b""))
    )


def ppm(most: int, *, plain: bool = False) -> bytes:
    values = np.arange(48) % (most + 1)
    if plain:
        return f"P3\n# of a camera\n4 4\n{most}\n{' '.join(map(str, values))}\n".encode()
    return f"P6 4 4 {most}\n".encode() + values.astype(">u2" if most > 255 else "u1").tobytes()


def tiff16() -> bytes:
    """A TIFF of 4x4 pixels with 16 bits in each of three channels, written by hand."""
    entries = [
        (256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 3, 200), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 300), (277, 3, 1, 3), (278, 3, 1, 4), (279, 4, 1, 96), (284, 3, 1, 1),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1
        head += struct.pack("<HHI", tag, kind, count)
        head += struct.pack("<HH", value, 0) if short else struct.pack("<I", value)
    head += bytes(4)
    return head.ljust(200, b"\0") + struct.pack("<HHH", 16, 16, 16).ljust(100, b"\0") + bytes(96)


def folder_of(tmp_path: Path, *contents: bytes, suffix: str = "png") -> Path:
    root = tmp_path / "x"
    (root / "a").mkdir(parents=True)
    for number, content in enumerate(contents):
        (root / "a" / f"{number}.{suffix}").write_bytes(content)
    return root


def refusal(root: Path, size: int | None = None) -> str:
    with pytest.raises(DataError) as caught:
        list(dataset(root, image_size=size, normalize="none").batches(2))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def overwrite(path: Path, content: bytes) -> None:
    """Other bytes of the same number, under the same time of change."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


class TestSameBytes:
    @pytest.fixture
    def data(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageDataset:
        """Four images that are read from their files whenever they are needed."""
        monkeypatch.setattr(folders, "_MEMORY", 0)
        buffers = [io.BytesIO() for _ in range(4)]
        for value, buffer in enumerate(buffers):
            Image.new("RGB", (4, 4), (value, 0, 0)).save(buffer, "BMP")
        root = folder_of(tmp_path, *(buffer.getvalue() for buffer in buffers), suffix="bmp")
        return dataset(root)

    def read(self, data: ImageDataset) -> list[int]:
        return [round(255 * float(x[0, 0, 0])) for batch, _ in data.batches(3) for x in batch]

    def first(self, tmp_path: Path) -> tuple[Path, bytes, bytes]:
        path = tmp_path / "x" / "a" / "2.bmp"
        good = path.read_bytes()
        return path, good, good[:-3] + b"abc"

    @pytest.mark.parametrize("how", ["hashed", "read", "limited", "normalised", "one"])
    def test_a_file_that_changes_ends_the_measurement(
        self, data: ImageDataset, tmp_path: Path, how: str
    ) -> None:
        path, good, bad = self.first(tmp_path)
        later: ImageDataset = {
            "limited": data.limited(2), "normalised": data.with_normalization("imagenet"),
        }.get(how, data)  # fmt: skip
        _ = self.read(data) if how == "read" else data[2] if how == "one" else data.content_hash
        overwrite(path, bad)
        with pytest.raises(DataError, match=r"2\.bmp was changed while it was measured: its byte"):
            self.read(later)
        overwrite(path, good)
        assert len(self.read(later)) == len(later)

    def test_what_is_hashed_after_a_change_is_what_was_read(
        self, data: ImageDataset, tmp_path: Path
    ) -> None:
        path, _, bad = self.first(tmp_path)
        assert self.read(data) == [0, 1, 2, 3]
        before = dataset(tmp_path / "x").content_hash
        overwrite(path, bad)
        assert data.content_hash == before != dataset(tmp_path / "x").content_hash


class TestDepth:
    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (png(4, 4, 16), "16 bits a channel"),
            (png(4, 4, 16, 6), "16 bits a channel"),
            (png(4, 4, 16, 4), "16 bits a channel"),
            (png(4, 4, 16, 0), "pixels of mode I"),
            (ppm(4095), "values up to 4,095"),
            (ppm(65535), "values up to 65,535"),
            (ppm(256, plain=True), "values up to 256"),
            (tiff16(), "16 bits a channel"),
        ],
        ids=["rgb", "rgba", "grey alpha", "grey", "ppm 12", "ppm 16", "ppm plain", "tiff"],
    )
    def test_more_than_8_bits_are_not_cut(self, tmp_path: Path, content: bytes, found: str) -> None:
        text = refusal(folder_of(tmp_path, content))
        assert f"0.png has {found}" in text
        assert "; expected 8 bits a channel, so convert the file first" in text

    @pytest.mark.parametrize(
        "content", [png(4, 4, 1, 0), png(4, 4, 4, 0), png(4, 4), ppm(255), ppm(255, plain=True)]
    )
    def test_up_to_8_bits_are_read_as_pillow_reads_them(
        self, tmp_path: Path, content: bytes
    ) -> None:
        found = dataset(folder_of(tmp_path, content)).raw()[0][0].permute(1, 2, 0).numpy()
        assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))

    def test_few_levels_are_spread_over_all(self, tmp_path: Path) -> None:
        pixels = dataset(folder_of(tmp_path, ppm(15))).raw()[0]
        assert pixels[0].permute(1, 2, 0).flatten()[:16].tolist() == [17 * i for i in range(16)]


def scans(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    content = buffer.getvalue()
    place = content.index(b"\xff\xda")
    return content[:place] + content[place:-2] * number + content[-2:]


class TestBounds:
    @pytest.mark.parametrize(
        ("content", "size", "found"),
        [
            (png(60_000, 1), 256, "60,000x1 pixels, resized 15,360,000x256; expected at most 80,0"),
            (png(1, 60_000, 1, 0), 64, "1x60,000 pixels, resized 64x3,840,000; expected at most"),
            (png(10_000, 8_001, 1, 0), None, "10,000x8,001 pixels; expected at most 80,000,000"),
            (png(65_000, 60_000, 1, 3)[:300], 8, "65,000x60,000 pixels; expected at most"),
            (scans(501), None, "is a JPEG of 501 scans; expected at most 500"),
        ],
        ids=["wide", "high", "large", "bomb", "scans"],
    )
    @pytest.mark.filterwarnings("error")
    def test_too_much_is_refused(
        self, tmp_path: Path, content: bytes, size: int | None, found: str
    ) -> None:
        assert found in refusal(folder_of(tmp_path, content), size)

    def test_long_images_that_fit_are_read(self, tmp_path: Path) -> None:
        assert dataset(folder_of(tmp_path, png(5_000, 3)), image_size=6).shape == (3, 6, 6)

    @pytest.mark.parametrize(
        ("make", "found"),
        [
            (os.mkfifo, "(it is a pipe); expected a plain file"),
            (lambda path: path.symlink_to("/dev/zero"), "(it is a device); expected a plain file"),
            (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
            (
                lambda path: path.write_bytes(bytes(101)),
                "is larger than 100 bytes; expected a smaller file",
            ),
        ],
        ids=["pipe", "device", "loop", "large"],
    )
    @pytest.mark.timeout(20)
    def test_what_is_no_file_is_not_waited_for(
        self,
        tmp_path: Path,
        make: Callable[[Path], object],
        found: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(pictures, "MOST_BYTES", 100)
        root = folder_of(tmp_path, png(4, 4))
        make(root / "a" / "1.png")
        text = refusal(root)
        assert "1.png" in text
        assert found in text

    @pytest.mark.timeout(60)
    def test_deep_folders_and_loops_end(self, tmp_path: Path) -> None:
        place = tmp_path / "x"
        place.mkdir()
        (place / "loop").symlink_to(place)
        here, made = Path.cwd(), 0
        os.chdir(place)
        try:
            while made < 1500:  # longer than any path that can be opened
                Path("deep").mkdir()
                os.chdir("deep")
                made += 1
            Path("one.png").write_bytes(png(4, 4))
            assert "x holds no images (found nothing); expected CLASS/IMAGE" in refusal(place)
        finally:
            Path("one.png").unlink(missing_ok=True)
            for _ in range(made):  # too deep for whoever removes the folder later
                os.chdir("..")
                Path("deep").rmdir()
            os.chdir(here)


@pytest.mark.parametrize("kind", sorted(encoded.EXTENSIONS))
def test_a_name_says_nothing_of_the_content(tmp_path: Path, kind: str) -> None:
    assert dataset(folder_of(tmp_path, png(4, 4), suffix=kind[1:])).shape == (3, 4, 4)
