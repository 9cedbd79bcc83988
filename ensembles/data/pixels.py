"""What is done to an image before a network sees it, as one frozen value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from PIL import Image

from ensembles.data.normalization import Normalization
from ensembles.errors import UsageError, nearest

__all__ = ["COLOURS", "CROP_MODES", "INTERPOLATIONS", "ImageSize", "Preprocessing", "SizeText"]

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}
CROP_MODES = ("center", "squash", "border")
HALVES = ("even", "down")
COLOURS = {"rgb": 3, "bgr": 3, "grey": 1}
"""Orders of the channels, and how many channels each has."""

ImageSize: TypeAlias = int | tuple[int, int] | None
"""``crop``, or ``(resize, crop)``: the shorter side becomes ``resize``, then a square is cut."""

SizeText: TypeAlias = int | str | Sequence[int] | None
"""One side of a square, height and width, ``256``, ``256x224`` or ``none``; None if not given."""

_LARGEST = 1 << 15


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before a network sees it.

    In the mode ``center`` an image keeps its proportions and is brought to the smallest size that
    covers ``resize``, in ``border`` to the largest one that lies within it, in ``squash`` it gets
    exactly that size. Then the middle is cut out; what an image lacks there is black, in
    ``border`` of the colour ``fill``. The same pixels as torchvision's transforms of its weights,
    timm's ``create_transform`` and the image processors of Hugging Face make, to the last bit.

    Attributes:
        resize: Height and width in pixels; None for images that are not resized.
        crop: Height and width of the part that is cut out; None for all of it.
        interpolation: ``nearest``, ``bilinear``, ``bicubic``, ``box``, ``hamming`` or ``lanczos``,
            as Pillow has them, which smooths where it makes images smaller.
        crop_mode: ``center``, ``squash`` or ``border``.
        colours: ``rgb``, ``bgr`` or ``grey`` (one channel, by the weights of ITU-R 601).
        fill: The colour of borders, red, green and blue from 0 to 255.
        normalization: What is done to the pixels then; None when it is not known.
        half: Where the middle begins that lies between two pixels: at the ``even`` one, as
            torchvision and timm round, or further ``down`` the count, as Hugging Face does.

    Raises:
        UsageError: When a side is below 1, or a name is unknown.

    >>> str(Preprocessing((256, 256), (224, 224), "bicubic"))
    'shorter side to 256 (bicubic), middle 224x224, normalisation unknown'
    """

    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    crop_mode: str = "center"
    colours: str = "rgb"
    fill: tuple[int, int, int] = (0, 0, 0)
    normalization: Normalization | None = None
    half: str = "even"

    def __post_init__(self) -> None:
        for what, pair in (("resize", self.resize), ("crop", self.crop)):
            if pair is not None and not all(map(_is_side, pair)):
                raise UsageError(
                    f"{what} {_sides(pair)}: expected sides of 1 to {_LARGEST:,} pixels"
                )
        if not all(isinstance(value, int) and 0 <= value <= 255 for value in self.fill):
            raise UsageError(f"fill {self.fill}: expected red, green and blue from 0 to 255")
        for what, name, known in (
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("crop mode", self.crop_mode, CROP_MODES),
            ("colours", self.colours, COLOURS),
            ("half", self.half, HALVES),
        ):
            if name not in known:
                raise UsageError(
                    f"{what} {name!r}; expected {', '.join(known)}{nearest(str(name), known)}"
                )

    @classmethod
    def of_size(cls, size: ImageSize) -> Preprocessing:
        """What an image size means: the shorter side resized, the middle square cut out.

        Raises:
            UsageError: When a side is below 1, or the crop is larger than the resized image.
        """
        if size is None:
            return cls()
        resize, crop = (size, size) if isinstance(size, int) else size
        if crop < 1 or resize < crop:
            raise UsageError(
                f"image size {size} cannot be cut; expected a side of at least 1 pixel, or "
                "(resize, crop) with resize not below crop"
            )
        return cls((resize, resize), (crop, crop))

    def changed(
        self,
        *,
        resize: SizeText = None,
        crop: SizeText = None,
        interpolation: str | None = None,
        crop_mode: str | None = None,
        colours: str | None = None,
        normalization: Normalization | None = None,
    ) -> Preprocessing:
        """The same but for what is given.

        Args:
            resize: A side, or height and width as 256x224, or none.
            crop: Likewise.
            interpolation: A name.
            crop_mode: A name.
            colours: A name.
            normalization: What is done to the pixels then.

        Raises:
            UsageError: When something cannot be meant, or a part is to be cut out that is larger
                than the resized image.
        """
        given: dict[str, Any] = {
            name: value.strip().lower()
            for name, value in (
                ("interpolation", interpolation),
                ("crop_mode", crop_mode),
                ("colours", colours),
            )
            if value is not None
        }
        sides = {
            name: _read_sides(value, name)
            for name, value in (("resize", resize), ("crop", crop))
            if value is not None
        }
        if normalization is not None:
            given["normalization"] = normalization
        made = replace(self, **(given | sides))
        if sides and made.crop_mode != "border" and made._is_short:
            raise UsageError(
                f"crop {_sides(made.crop or ())} is larger than images resized to "
                f"{_sides(made.resize or ())}; give both sizes (--resize and --crop), or the crop "
                "mode border"
            )
        if (crop_mode or normalization) and made.crop_mode == "border" and made.normalization:
            made = replace(made, fill=mean_colour(made.normalization))
        return made

    @property
    def _is_short(self) -> bool:
        """Whether a part is cut out that is larger than the resized image."""
        if self.resize is None or self.crop is None:
            return False
        return any(cut > side for cut, side in zip(self.crop, self.resize, strict=True))

    @property
    def channels(self) -> int:
        """How many channels an image has afterwards."""
        return COLOURS[self.colours]

    @property
    def is_plain(self) -> bool:
        """Whether pixels stay as they are in the file."""
        return self.resize is None and self.crop is None and self.colours == "rgb"

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that every image has afterwards; None where it depends on the image."""
        if self.crop is None and self.crop_mode == "squash":
            return self.resize
        return self.crop

    @property
    def identity(self) -> str:
        """What determines the pixels before normalisation, as hashes and caches take it.

        It is the text of version 1, ``(resize, crop)``, for whatever version 1 could do.
        """
        if self.is_plain:
            return "None"
        if self == Preprocessing(self.resize, self.crop, normalization=self.normalization):
            match self.resize, self.crop:
                case (a, b), (c, d) if (a, c) == (b, d):
                    return repr((a, c))
        return (
            f"resize {self.resize} {self.interpolation} {self.crop_mode} crop {self.crop} "
            f"{self.colours}"
            + (f" fill {self.fill}" if self.crop_mode == "border" else "")
            + (f" half {self.half}" if self.half != "even" else "")
        )

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of a size has afterwards."""
        return self.size or self.resized_size(height, width)

    def apply(self, image: Image.Image) -> Image.Image:
        """Resize, cut and recolour an image; the order of the channels is left to the caller.

        Args:
            image: Of the mode RGB.

        Returns:
            An image of the mode RGB, or L where one channel is asked for.
        """
        if self.resize is not None:
            height, width = self.resized_size(image.height, image.width)
            if (height, width) != (image.height, image.width):
                image = image.resize((width, height), INTERPOLATIONS[self.interpolation])
        if self.crop is not None:
            fill = self.fill if self.crop_mode == "border" else (0, 0, 0)
            image = _middle(image, self.crop, fill, down=self.half == "down")
        return image.convert("L") if self.colours == "grey" else image

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image of a size once it is resized, before it is cut."""
        if self.resize is None:
            return height, width
        if self.crop_mode == "squash":
            return self.resize
        rows, columns = self.resize
        if self.crop_mode == "center" and rows == columns:
            if width <= height:
                return int(rows * height / width), rows
            return rows, int(rows * width / height)
        each = height / rows, width / columns
        ratio = max(each) if self.crop_mode == "border" else min(each)
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def __str__(self) -> str:
        known = self.normalization
        told = "normalisation unknown" if known is None else f"normalised by {known}"
        return f"{self.pixels}, {told}"

    @property
    def pixels(self) -> str:
        """What is done before normalisation, in words."""
        steps = []
        how = f"({self.interpolation})"
        if self.resize is not None and self.crop_mode == "center":
            one = self.resize[0] == self.resize[1]
            told = f"shorter side to {self.resize[0]}" if one else f"to cover {_sides(self.resize)}"
            steps.append(f"{told} {how}")
        elif self.resize is not None:
            verb = "squashed to" if self.crop_mode == "squash" else "fitted with borders into"
            steps.append(f"{verb} {_sides(self.resize)} {how}")
        if self.crop is not None and not (self.crop_mode == "squash" and self.crop == self.resize):
            steps.append(f"middle {_sides(self.crop)}")
        if self.colours != "rgb":
            steps.append("blue first (BGR)" if self.colours == "bgr" else "grey")
        return ", ".join(steps or ["as they are"])


def mean_colour(normalization: Normalization) -> tuple[int, int, int]:
    """The 8-bit colour of the mean, with which timm fills borders."""
    mean = normalization.mean * (3 if len(normalization.mean) == 1 else 1)
    red, green, blue = (min(255, max(0, round(255 * value))) for value in mean[:3])
    return red, green, blue


def _middle(
    image: Image.Image, size: tuple[int, int], fill: tuple[int, int, int], *, down: bool
) -> Image.Image:
    """The middle of an image, with borders where it is smaller.

    Half a pixel is rounded as torchvision does it; or down where it is cut, and up where borders
    are put, as Hugging Face does it.
    """
    height, width = size
    rows, columns = max(image.height, height), max(image.width, width)
    if (rows, columns) != (image.height, image.width):
        canvas = Image.new("RGB", (columns, rows), fill)
        above, beside = rows - image.height + down, columns - image.width + down
        canvas.paste(image, (beside // 2, above // 2))
        image = canvas
    if down:
        top, left = (rows - height) // 2, (columns - width) // 2
    else:
        top, left = round((rows - height) / 2), round((columns - width) / 2)
    return image.crop((left, top, left + width, top + height))


def _read_sides(value: int | str | Sequence[int], what: str) -> tuple[int, int] | None:
    """One side or both, as a number, a text such as 256 or 256x224, or a pair."""
    if isinstance(value, str):
        text = value.strip().lower()
        if text == "none":
            return None
        parts = text.replace(",", "x").split("x")
        numbers = [int(part) for part in parts if part.isascii() and part.isdigit()]
        complete = len(numbers) == len(parts)
    else:
        numbers = [value] if isinstance(value, int) else list(value)
        complete = all(isinstance(one, int) and not isinstance(one, bool) for one in numbers)
    if not complete or len(numbers) not in (1, 2):
        raise UsageError(
            f"{what} {value!r}; expected a side in pixels as 256, height and width as 256x224, or "
            "none"
        )
    return numbers[0], numbers[-1]


def _is_side(side: object) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= _LARGEST


def _sides(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))
