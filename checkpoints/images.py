"""What a user asks of the images, and what comes of it with what the weights say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ensembles.cards import Card
from ensembles.data import ImageDataset, Normalization, Preprocessing
from ensembles.data.any_dataset import has_normalization
from ensembles.data.normalization import AS_GIVEN, NAMED
from ensembles.data.pixels import SizeText
from ensembles.errors import UsageError

from .pixel_records import has_test_size, of_card

__all__ = ["ImageChoice"]


@dataclass(frozen=True)
class ImageChoice:
    """What a user asks of the images; None where the weights' own record counts.

    Attributes:
        normalize: A normalisation, as ``Normalization.parse`` takes it.
        image_size: One side for resizing and cutting; or ``256,224``, first the resized shorter
            side, then the side of the square that is cut out.
        resize: The side that images are resized to, or ``none``.
        crop: The side of what is cut out, or ``none``.
        interpolation: As :class:`ensembles.data.Preprocessing` has it; so are the next two.
        crop_mode: How an image is brought to a size.
        colours: The order of the channels.
        test_size: Whether to take the size that the record names for testing.
    """

    normalize: Normalization | str | None = None
    image_size: SizeText = None
    resize: SizeText = None
    crop: SizeText = None
    interpolation: str | None = None
    crop_mode: str | None = None
    colours: str | None = None
    test_size: bool = False

    def preprocessing(self, card: Card) -> Preprocessing:
        """What is done to images; its normalisation is None where nobody names one.

        Raises:
            UsageError: When something cannot be meant, or two sizes are asked for.
            CheckpointError: When the card says something that cannot be meant.
        """
        start = of_card(card, test=self.test_size)
        if self.test_size and not has_test_size(card):
            raise UsageError(
                f"the record of {card.name} names no other size for testing; leave out the test "
                "size, or name one with --resize and --crop"
            )
        resize, crop = self.resize, self.crop
        if self.image_size is not None:
            if self.test_size or (resize, crop) != (None, None):
                raise UsageError(
                    "image size gives both sizes; expected it alone, or a resize and a crop, or "
                    "the test size"
                )
            resize, crop = _two(self.image_size)
            Preprocessing.of_size(resize if resize == crop else (resize, crop))
        normal = None if self.normalize is None else Normalization.parse(self.normalize)
        colours = self.colours
        if colours is None and start.channels == 3 and _takes_grey(card):
            colours = "grey"
        return start.changed(
            resize=resize,
            crop=crop,
            interpolation=self.interpolation,
            crop_mode=self.crop_mode,
            colours=colours,
            normalization=normal,
        )

    def opened(
        self, card: Card, name: str, open_as: Callable[[Preprocessing], ImageDataset]
    ) -> ImageDataset:
        """Data whose images are made as the user and the weights say.

        Args:
            card: Of the weights.
            name: The data set or folder.
            open_as: Opens it.

        Raises:
            UsageError: When nobody names a normalisation and the data have none of their own, or
                what is asked has no effect on these data.
        """
        how = self.preprocessing(card)
        data = open_as(how)
        if data.normalization == AS_GIVEN:
            if self != ImageChoice():
                raise UsageError(
                    f"{name} holds rows that are taken as they are; leave out --normalize and what "
                    "is asked of images, or save images as whole numbers of 8 bits (uint8)"
                )
            return data
        if (self.interpolation or self.crop_mode) and data.preprocessing.resize is None:
            raise UsageError(
                "interpolation and crop mode are for images that are resized, and these are taken "
                "as they are; name a size with --resize"
            )
        if how.normalization is None and not has_normalization(name):
            names = ", ".join(one for one in NAMED if one != "none")
            raise UsageError(
                f"no normalisation is known: the weights {card.name} say nothing of their images, "
                f"and {name} has none of its own; name the one that the network was trained with: "
                f"--normalize {names}, none (pixels from 0 to 1), or means and deviations as "
                "0.5,0.5,0.5/0.25,0.25,0.25"
            )
        return data

    def told(self, card: Card, data: ImageDataset) -> str:
        """One line on what is done to the images, and who says so."""
        if data.normalization == AS_GIVEN:
            return _told_of_rows(card, data)
        if self.normalize is not None:
            whose = "as asked"
        elif card.normalization is not None:
            whose = "as the weights' record says"
        else:
            whose = "the data set's own, as the weights say nothing; --normalize names another"
        line = f"images: {data.preprocessing} ({whose}"
        sizes = replace(self, normalize=None) != ImageChoice()
        if sizes and self.normalize is None:
            line += ", the pixels as asked"
        if has_test_size(card) and not sizes:
            other = replace(of_card(card, test=True), normalization=None)
            line += f"; --test-size takes the record's other size, {other.pixels}"
        return line + ")"


def _told_of_rows(card: Card, data: ImageDataset) -> str:
    """What is said of rows that are taken as they are, with the values that they have."""
    rows, _ = next(data.batches(len(data)))
    low, high = rows.min().item(), rows.max().item()
    shape = "x".join(map(str, data.shape))
    line = (
        f"rows of {data.name}: {shape} each, values {low:.4g} to {high:.4g}, taken as they are; "
        "nothing is normalised"
    )
    if card.normalization is not None and low >= 0:
        line += f", though the weights' record says {Normalization.parse(card.normalization)}"
    return line


def _takes_grey(card: Card) -> bool:
    """Whether the network has one input channel."""
    return 1 in (card.arguments.get("in_channels"), card.arguments.get("in_chans"))


def _two(size: int | str | Sequence[int]) -> tuple[int, int]:
    """An image size as (resize, crop)."""
    if isinstance(size, str):
        parts = size.replace("x", ",").split(",")
        numbers = [int(part) for part in parts if part.strip().isdecimal()]
        numbers = numbers if len(numbers) == len(parts) else []
    else:
        numbers = [size] if isinstance(size, int) else list(size)
    if len(numbers) not in (1, 2):
        raise UsageError(
            f"image size {size!r}; expected a side in pixels as 224, or two as 256,224: the "
            "shorter side after resizing, and the side of the square that is cut out"
        )
    return numbers[0], numbers[-1]
