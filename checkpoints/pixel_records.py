"""What weights say of their images: records of torchvision, timm, Hugging Face, and our cards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ensembles.bounded import json_value, read_text
from ensembles.cards import Card
from ensembles.data import Normalization, Preprocessing
from ensembles.data.pixels import mean_colour
from ensembles.errors import CheckpointError, UsageError

__all__ = [
    "as_numbers", "has_test_size", "of_card", "of_hugging_face", "of_timm", "of_torchvision",
    "with_record", "written",
]  # fmt: skip

_TIMM_MEAN, _TIMM_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Names of Pillow's numbers."""

_BY_SHORTER_SIDE = ("clip", "convnext", "levit", "mobilenet", "mobilevit", "bit", "poolformer")
"""Processors of Hugging Face that read a size of one number as that of the shorter side."""

_SHARES = {"convnext": 224 / 256, "poolformer": 0.9}
"""Shares of the resized side that are cut out where a processor's file says none."""

_SQUASHED = 384
"""From this size on, ConvNeXt's processor cuts nothing."""

_NOT_READ = (
    *("do_pad", "do_thumbnail", "do_align_long_axis", "size_divisor", "size_divisibility"),
    *("clusters", "max_num_patches", "do_image_splitting", "do_pan_and_scan", "do_crop_margin"),
    *(
        "perceiver",
        "videomae",
        "vivit",
        "tvlt",
        "imagegpt",
        "timmwrapper",
        "siglip2",
        "glpn",
        "textnet",
    ),
)
"""What processors do beyond this, or those that make videos, patches or sizes of their own."""

_NOT_NORMALISED = ("mobilevit",)
"""Processors that do not normalise unless their file says so."""

_TWICE = "efficientnet"
"""The processor that divides by the deviation once more unless its file says ``include_top`` is
false."""


def of_torchvision(transforms: Any) -> Preprocessing:
    """What ``transforms()`` of a member of torchvision's weights does to an image."""
    resize, crop = transforms.resize_size, transforms.crop_size
    return Preprocessing(
        (resize[0], resize[-1]),
        (crop[0], crop[-1]),
        transforms.interpolation.value.replace("nearest-exact", "nearest"),
        normalization=_normalization(transforms.mean, transforms.std),
    )


def of_timm(config: Mapping[str, Any], *, test: bool = False) -> Preprocessing:
    """What timm's ``create_transform`` does to an image in evaluation.

    Args:
        config: ``model.pretrained_cfg``, or what ``resolve_model_data_config`` makes of it.
        test: Whether to take the size that the record names for testing, where it differs.
    """
    size = (test and config.get("test_input_size")) or config.get("input_size") or (3, 224, 224)
    share = (test and config.get("test_crop_pct")) or config.get("crop_pct") or 0.875
    height, width = size[-2:]
    normal = _normalization(config.get("mean") or _TIMM_MEAN, config.get("std") or _TIMM_STD)
    mode = config.get("crop_mode") or "center"
    return Preprocessing(
        (math.floor(height / share), math.floor(width / share)),
        (height, width),
        config.get("interpolation") or "bicubic",
        mode,
        colours="grey" if size[0] == 1 else "rgb",
        fill=mean_colour(normal) if mode == "border" else (0, 0, 0),
        normalization=normal,
    )


def of_hugging_face(values: Mapping[str, Any]) -> Preprocessing:
    """What an image processor of Hugging Face does to an image.

    Images are resized as Pillow does it, as in the processors without "Fast" in their names.

    Args:
        values: What ``preprocessor_config.json`` holds.

    Raises:
        CheckpointError: When it says something that is not known here.
    """
    kind = str(values.get("image_processor_type") or values.get("feature_extractor_type") or "")
    kind = kind.lower()
    for name in _NOT_READ:
        if values.get(name) or kind.startswith(name):
            raise CheckpointError(f"the image processor asks for {name}, which is not known here")
    resize: tuple[int, int] | None = None
    squash, crop = False, values.get("crop_size")
    if values.get("do_resize", True) and values.get("size") is not None:
        resize, squash = _hugging_face_size(values["size"], kind)
    share = next((default for name, default in _SHARES.items() if kind.startswith(name)), None)
    if values.get("crop_pct") or ("crop_pct" in values and not kind.startswith("convnext")):
        share = values["crop_pct"]
    if resize and not squash and kind.startswith("levit"):
        resize = _both(int(256 / 224 * resize[0]))
    elif resize and not squash and share:
        if kind.startswith("convnext"):
            crop, squash = resize[0], resize[0] >= _SQUASHED
        resize = resize if squash else _both(int(resize[0] / share))
    cuts = values.get("do_center_crop", True) and crop is not None
    number = values.get("resample", 2 if resize is None else None)
    if not isinstance(number, int) or not 0 <= number < len(_RESAMPLE):
        raise CheckpointError(
            f"the image processor's resample is {number!r}; expected one of Pillow's numbers, 0 to "
            f"{len(_RESAMPLE) - 1}"
        )
    return Preprocessing(
        resize,
        _hugging_face_size(crop, "clip")[0] if cuts else None,
        _RESAMPLE[number],
        "squash" if squash else "center",
        "bgr" if values.get("do_flip_channel_order", kind.startswith("mobilevit")) else "rgb",
        half="down",
        normalization=_hugging_face_normalization(values, kind),
    )


def of_card(card: Card, *, test: bool = False) -> Preprocessing:
    """What a card says is done to images.

    Args:
        card: What is known of the weights.
        test: Whether to take the size that it names for testing, where there is one.

    Raises:
        CheckpointError: When it says something that cannot be meant.
    """
    known: Mapping[str, Any] = card.preprocessing
    normal = None if card.normalization is None else Normalization.parse(card.normalization)
    names = ("test_resize", "test_crop") if test and has_test_size(card) else ("resize", "crop")
    try:
        resize, crop = (_pair(known.get(name)) for name in names)
        found = Preprocessing(resize, crop, normalization=normal).changed(
            **{name: known[name] for name in _WRITTEN if name in known}
        )
        if card.arguments.get("in_channels") == 1 and "colours" not in known:
            found = found.changed(colours="grey")
        found = replace(found, half=known.get("half", "even"))
        if "fill" in known:
            if not isinstance(known["fill"], list) or len(known["fill"]) != 3:
                raise ValueError(f"fill {known['fill']!r}; expected red, green and blue")
            found = replace(found, fill=tuple(known["fill"]))
        elif found.crop_mode == "border" and normal is not None:
            found = replace(found, fill=mean_colour(normal))
    except (UsageError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise CheckpointError(f"card of {card.name!r}: preprocessing: {error}") from error
    return found


def has_test_size(card: Card) -> bool:
    """Whether a card names another size for testing than the one of the training."""
    return {"test_resize", "test_crop"} <= card.preprocessing.keys()


def written(how: Preprocessing, test: Preprocessing | None = None) -> dict[str, Any]:
    """What a card holds of it; the normalisation stands elsewhere on the card.

    Args:
        how: What is done to images.
        test: The same at the size for testing, where that is another one.
    """
    told: dict[str, Any] = {}
    if how.resize is not None:
        told["resize"] = _short(how.resize)
    if how.crop is not None:
        told["crop"] = _short(how.crop)
    if how.resize is not None:
        told["interpolation"] = how.interpolation
    usual = Preprocessing()
    for name in ("crop_mode", "colours", "half"):
        if getattr(how, name) != getattr(usual, name):
            told[name] = getattr(how, name)
    if how.crop_mode == "border":
        told["fill"] = list(how.fill)
    if test is not None and test.resize and test.crop and test != how:
        told |= {"test_resize": _short(test.resize), "test_crop": _short(test.crop)}
    return told


def as_numbers(how: Preprocessing) -> str | None:
    """The normalisation as a card holds it, in numbers and without a name."""
    if how.normalization is None:
        return None
    both = how.normalization.mean, how.normalization.std
    return "/".join(",".join(map(repr, values)) for values in both)


def with_record(card: Card, path: Path) -> Card:
    """A card without a record of images, completed by what lies beside the weights.

    That is ``preprocessor_config.json`` of Hugging Face, or ``processor_config.json`` with an
    ``image_processor``, or ``config.json`` with a ``pretrained_cfg`` of timm.

    Raises:
        CheckpointError: When there is such a file and it cannot be read.
    """
    if card.preprocessing or card.normalization is not None:
        return card
    test = None
    beside, processor = _processor_beside(path.parent)
    if processor is not None:
        found = _meant(beside, of_hugging_face, processor)
    else:
        beside = path.parent / "config.json"
        config = _read(beside).get("pretrained_cfg") if beside.is_file() else None
        if not isinstance(config, Mapping):
            return card
        found = _meant(beside, of_timm, config)
        test = _meant(beside, partial(of_timm, test=True), config)
    return replace(card, preprocessing=written(found, test), normalization=as_numbers(found))


def _processor_beside(folder: Path) -> tuple[Path, Mapping[str, Any] | None]:
    """The file of an image processor in a folder, and what it holds of it; None without one."""
    own, shared = folder / "preprocessor_config.json", folder / "processor_config.json"
    if own.is_file():
        return own, _read(own)
    inner = _read(shared).get("image_processor") if shared.is_file() else None
    return shared, inner if isinstance(inner, Mapping) else None


def _meant(
    path: Path, read: Callable[[Mapping[str, Any]], Preprocessing], values: Mapping[str, Any]
) -> Preprocessing:
    """What a record from another hand says; whatever is wrong in it is told with its file."""
    try:
        return read(values)
    except (
        CheckpointError, UsageError, TypeError, ValueError, ArithmeticError, LookupError,
        AttributeError,
    ) as error:  # fmt: skip
        raise CheckpointError(f"{path}: what it says of images cannot be meant: {error}") from error


def _read(path: Path) -> Mapping[str, Any]:
    text = read_text(path, "image record", error=CheckpointError)
    found = json_value(text, f"image record {path}", error=CheckpointError)
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path} holds a {type(found).__name__}; expected names and values")
    return found


def _hugging_face_size(size: Any, kind: str) -> tuple[tuple[int, int], bool]:
    """Height and width, and whether images are squashed to them."""
    if isinstance(size, int) and not isinstance(size, bool):
        return _both(size), not kind.startswith(_BY_SHORTER_SIDE)
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return (size[0], size[1]), True
    if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        return (size["height"], size["width"]), True
    if isinstance(size, Mapping) and size.keys() == {"shortest_edge"}:
        return _both(size["shortest_edge"]), False
    raise CheckpointError(
        f"the image processor's size is {size!r}; expected height and width, or shortest_edge"
    )


def _hugging_face_normalization(values: Mapping[str, Any], kind: str) -> Normalization:
    """(x * factor - offset - mean) / std, written as (x / 255 - mean) / std."""
    scale = 255 * values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 255.0
    offset = 1.0 if values.get("rescale_offset") else 0.0
    mean, std = [0.0], [1.0]
    usual = not kind.startswith(_NOT_NORMALISED)
    if values.get("do_normalize", usual) and values.get("image_mean") is not None:
        mean, std = values["image_mean"], values["image_std"]
        mean, std = ([one] if isinstance(one, float) else one for one in (mean, std))
    if kind.startswith(_TWICE) and values.get("include_top", True) and values.get("image_std"):
        mean, std = _divided_again(mean, std, values["image_std"])
    if (scale, offset) == (1.0, 0.0):
        return _normalization(mean, std)
    return _normalization([(m + offset) / scale for m in mean], [s / scale for s in std])


def _divided_again(mean: Any, std: Any, by: Any) -> tuple[list[float], list[float]]:
    """((x - mean) / std) / by, written as (x - mean) / std."""
    channels = max(map(len, (mean, std, by)))
    means, first, second = ([*one] * (channels // len(one)) for one in (mean, std, by))
    return means, [one * other for one, other in zip(first, second, strict=True)]


def _normalization(mean: Any, std: Any) -> Normalization:
    return Normalization(tuple(map(float, mean)), tuple(map(float, std)))


_WRITTEN = ("interpolation", "crop_mode", "colours")


def _pair(value: Any) -> tuple[int, int] | None:
    """Sides as a card has them: one number, or a list of two."""
    if value is None:
        return None
    sides = _both(value) if isinstance(value, int) else value
    if not isinstance(sides, (list, tuple)) or len(sides) != 2:
        raise ValueError(f"sides {value!r}; expected a number of pixels, or two")
    return sides[0], sides[1]


def _both(side: int) -> tuple[int, int]:
    return side, side


def _short(sides: tuple[int, int]) -> int | list[int]:
    return sides[0] if sides[0] == sides[1] else list(sides)
