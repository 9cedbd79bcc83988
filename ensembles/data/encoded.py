"""One encoded image: opened within bounds, and refused where 8 bits a channel would cut it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ensembles.errors import DataError

__all__ = ["EXTENSIONS", "MOST_PIXELS", "opened", "too_large", "unreadable"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
MOST_PIXELS = 80_000_000
"""Pixels of one image, before it is resized and after."""

# Some other formats that Pillow opens by content hand the file to an outside program.
_FORMATS = {
    "JPEG": JpegImagePlugin,
    "PNG": PngImagePlugin,
    "PPM": PpmImagePlugin,
    "BMP": BmpImagePlugin,
    "TIFF": TiffImagePlugin,
    "WEBP": WebPImagePlugin,
    "GIF": GifImagePlugin,
}
"""Names in Pillow's table of formats, and the modules that register them."""
_NOT_THIS_FORMAT = (SyntaxError, IndexError, TypeError, struct.error)
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_BITS_PER_SAMPLE = 258
_SCAN, _MOST_SCANS = b"\xff\xda", 500


@contextmanager
def opened(content: bytes, name: str) -> Iterator[ImageFile.ImageFile]:
    """Open an image by its content; its pixels are not decoded yet.

    Args:
        content: The encoded image.
        name: What messages call it.

    Raises:
        DataError: When it is no readable image, has more than 80 million pixels, more than 8 bits a
            channel, or more than 500 scans.
    """
    with unreadable(name, len(content)):
        file = _recognised(content)
    with file:
        if file.width * file.height > MOST_PIXELS:
            raise too_large(name, (file.width, file.height))
        if bits := _deep(file):
            raise DataError(
                f"{name} has {bits}; expected 8 bits a channel, so convert the file first"
            )
        if file.format in ("JPEG", "MPO") and content.count(_SCAN) > _MOST_SCANS:
            raise DataError(
                f"{name} is a JPEG of {content.count(_SCAN):,} scans; expected at most "
                f"{_MOST_SCANS}, so convert or remove the file"
            )
        yield file


def _recognised(content: bytes) -> ImageFile.ImageFile:
    """As ``Image.open``, which warns of many pixels before one can refuse them."""
    for form in _FORMATS:
        factory, accept = Image.OPEN[form]
        try:
            if accept is None or accept(content[:16]) is True:
                return factory(io.BytesIO(content), "")
        except _NOT_THIS_FORMAT:
            continue
    raise SyntaxError("cannot identify image file")


def _deep(file: ImageFile.ImageFile) -> str:
    """What a channel holds beyond 8 bits, in words; "" for 8 bits or fewer."""
    if file.mode.startswith(("I", "F")):
        return f"pixels of mode {file.mode}"
    if file.format == "PNG":
        return "16 bits a channel" if any("16" in str(tile[3]) for tile in file.tile) else ""
    if file.format == "PPM":
        levels = [tile[3][1] for tile in file.tile if isinstance(tile[3], tuple)]
        most = max(map(int, levels), default=255)
        return f"values up to {most:,}" if most > 255 else ""
    if file.format == "TIFF":
        bits = file.tag_v2.get(_BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
        most = max(bits if isinstance(bits, tuple) else (bits,))
        return f"{most} bits a channel" if most > 8 else ""
    return ""


@contextmanager
def unreadable(name: str, size: int) -> Iterator[None]:
    """Whatever a decoder raises, as one error that names the image.

    Args:
        name: What messages call it.
        size: Its bytes.

    Raises:
        DataError: Instead of what is raised within.
    """
    try:
        yield
    except DataError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"cannot decode the image {name} ({size:,} bytes): {reason}; replace or remove the file"
        ) from error


def too_large(name: str, size: tuple[int, int], after: tuple[int, int] | None = None) -> DataError:
    """The error for an image of too many pixels; sizes are (width, height)."""
    then = "" if after is None or after == size else f", resized {after[0]:,}x{after[1]:,}"
    return DataError(
        f"the image {name} has {size[0]:,}x{size[1]:,} pixels{then}; expected at most "
        f"{MOST_PIXELS:,} pixels, so make it smaller or remove it"
    )
