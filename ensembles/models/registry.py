"""One registry over our own architectures, torchvision's and timm's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import nn

from ensembles.distribution import install
from ensembles.errors import ModelError, nearest

from .field import ALIASES, LIBRARY_ROWS, TIMM_ERRORS
from .parts import Architecture, PublicWeights
from .sized import sized

__all__ = ["adopt", "architecture", "create_model", "field_models", "list_models"]

LIBRARIES = ("ensembles", "torchvision", "timm")

# One file of this package each; its FAMILY lists the architectures.
_FAMILIES = (
    *("lenet", "nin", "vgg", "inception", "inception_resnet", "highway"),
    *("resnet", "projection", "cifar_stem"),
    *("preresnet", "preresnet_imagenet", "identity_mappings", "shared"),
    *("wide", "rir", "pyramid", "dense", "resnext", "fractal"),
    "vit",
)


def _members(family: str) -> tuple[Architecture, ...]:
    """The architectures of a file, of its family where they name no other."""
    members: tuple[Architecture, ...] = import_module(f"{__package__}.{family}").FAMILY
    return tuple(entry if entry.family else replace(entry, family=family) for entry in members)


_OWN: dict[str, Architecture] = {
    entry.name: entry for family in _FAMILIES for entry in _members(family)
}
_LANGUAGE: dict[str, Architecture] = {entry.name: entry for entry in _members("gpt")}

_ADOPTED: dict[str, Architecture] = {}
"""Networks of the user's own, which have no name before the user says it."""

# Arguments of torchvision and timm that read or download weights.
_TRAINED = {
    *("weights", "weights_backbone", "pretrained", "checkpoint_path"),
    *("pretrained_cfg", "pretrained_cfg_overlay"),
}
_TIMM_MISSING = f"timm is not installed: {install('timm')}"


def list_models(library: str | None = None, *, task: str = "classification") -> list[str]:
    """Name every architecture that can be built here.

    Args:
        library: Only those of ``"ensembles"``, ``"torchvision"`` or ``"timm"``.
        task: What they are for: ``"classification"`` (of images) or ``"language"``.

    Returns:
        Our own names, then torchvision's classification models, then timm's where it is installed;
        a timm model whose name is taken is listed as ``timm:name``.

    Raises:
        ModelError: When there is no such library.
    """
    if task != "classification":
        return [name for name, one in _LANGUAGE.items() if one.task == task]
    if library is None:
        return [name for source in LIBRARIES for name in list_models(source)]
    if library == "ensembles":
        return list(_OWN)
    if library == "torchvision":
        return list(_torchvision_names())
    if library == "timm":
        taken = {*_OWN, *_torchvision_names()}
        return [f"timm:{name}" if name in taken else name for name in _timm_names()]
    raise ModelError(_unknown_library(library))


def field_models() -> list[str]:
    """Name the architectures of the literature, LeNet to FractalNet, wherever they come from."""
    return [*_OWN, *LIBRARY_ROWS]


def architecture(name: str, others: Iterable[str] = ()) -> Architecture:
    """Look an architecture up.

    Args:
        name: One of :func:`list_models`; ``ensembles:``, ``torchvision:`` or ``timm:`` in front
            takes it from that library. A timm name may carry a tag (``resnet50.a1_in1k``).
        others: Names that are no architecture's, but that may have been meant.

    Returns:
        Its entry, whose own ``name`` is the shortest that leads to it.

    Raises:
        ModelError: When there is none of that name; nearest names are offered.

    >>> architecture("resnet110").input_size
    (3, 32, 32)
    """
    libraries: tuple[str, ...]
    if name in _ADOPTED:
        return _ADOPTED[name]
    name = ALIASES.get(name, name)
    library, colon, bare = name.partition(":")
    if not colon:
        bare, libraries = name, LIBRARIES
    elif library in LIBRARIES:
        libraries = (library,)
    else:
        raise ModelError(f"model {name!r}: {_unknown_library(library)}")
    if libraries == ("timm",) and not _timm_installed():
        raise ModelError(f"model {name!r} needs timm, and {_TIMM_MISSING}")
    for source in libraries:
        found = _FINDERS[source](bare)
        if found is not None:
            return found
    raise ModelError(_unknown(name, bare, libraries, others))


def adopt(name: str, entry: Architecture) -> None:
    """Let a name lead to an architecture for the rest of the process."""
    _ADOPTED[name] = entry


def create_model(name: str, num_classes: int | None = None, **arguments: Any) -> nn.Module:
    """Build an untrained network; nothing is downloaded.

    Args:
        name: As for :func:`architecture`.
        num_classes: Width of the classifier; by default the architecture's own (10 for the CIFAR
            networks, 1000 for most others).
        **arguments: Passed on to the architecture; ``in_channels``, for images of other than three
            channels, is understood by all of them.

    Returns:
        The network, in training mode.

    Raises:
        ModelError: When there is no such architecture or it does not take these arguments.

    >>> sum(p.numel() for p in create_model("resnet20").parameters())
    269722
    """
    entry = architecture(name)
    classes = entry.num_classes if num_classes is None else num_classes
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ModelError(f"model {name!r} needs at least one class, got num_classes={classes!r}")
    if _TRAINED & arguments.keys():
        raise ModelError(
            f"create_model builds untrained networks, got weights for {name!r}; "
            f"use load({name!r}, checkpoint='imagenet') for trained ones"
        )
    try:
        if entry.library != "ensembles" and "in_channels" in arguments:
            return _with_channels(entry, classes, arguments)
        return entry.build(num_classes=classes, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"model {name!r} cannot be built with ({given}): {reason}") from error


def _with_channels(entry: Architecture, classes: int, arguments: dict[str, Any]) -> nn.Module:
    """A library's network for images of another number of channels."""
    rest = {key: value for key, value in arguments.items() if key != "in_channels"}
    channels = arguments["in_channels"]
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise ValueError(f"in_channels is {channels!r}; expected a whole number of at least 1")
    if entry.library == "timm":
        return entry.build(num_classes=classes, in_chans=channels, **rest)
    model = entry.build(num_classes=classes, **rest)
    for place, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != entry.input_size[0] or module.groups != 1:
                break
            shaped: dict[str, Any] = {
                name: getattr(module, name)
                for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
            }
            bias = module.bias is not None
            first = nn.Conv2d(channels, module.out_channels, bias=bias, **shaped)
            owner, _, own = place.rpartition(".")
            setattr(model.get_submodule(owner), own, first)
            return model
    raise ValueError("its first layer is no convolution over the images' channels")


def _own(name: str) -> Architecture | None:
    return _OWN.get(name) or _LANGUAGE.get(name) or sized(name)


def _torchvision(name: str) -> Architecture | None:
    if name not in _torchvision_names():
        return None
    models = import_module("torchvision.models")
    weights = models.get_model_weights(name)
    size = min(entry.transforms().crop_size[0] for entry in weights)
    entry = Architecture(
        name=f"torchvision:{name}" if name in _OWN else name,
        library="torchvision",
        build=partial(_build_torchvision, name),
        input_size=(3, size, size),
        num_classes=1000,
        paper=f"torchvision.models.{name}",
        published_on="",
        family=models.get_model_builder(name).__module__.rpartition(".")[2],
        public_weights=tuple(PublicWeights(one.name, _stated_error(one.meta)) for one in weights),
    )
    return _with_row(entry, name)


def _stated_error(meta: dict[str, Any]) -> float | None:
    """Top-1 error on ImageNet in %, from the metadata of torchvision's weights."""
    accuracy = meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    return None if accuracy is None else round(100 - accuracy, 3)


def _with_row(entry: Architecture, name: str) -> Architecture:
    """Add what is known of an architecture of the literature beyond its library."""
    row = LIBRARY_ROWS.get(name)
    return entry if row is None else replace(entry, **vars(row))


def _build_torchvision(name: str, **arguments: Any) -> nn.Module:
    if name in ("googlenet", "inception_v3"):
        arguments.setdefault("init_weights", True)
    model: nn.Module = import_module("torchvision.models").get_model(
        name, weights=None, **arguments
    )
    return model


def _timm(name: str) -> Architecture | None:
    if not _timm_installed():
        return None
    timm = import_module("timm")
    if not timm.is_model(name):
        return None
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError:
        return None
    size: tuple[int, int, int] = config.input_size if config else (3, 224, 224)
    bare = name.partition(".")[0]
    found = timm.models.get_arch_pretrained_cfgs(bare)
    entry = Architecture(
        name=f"timm:{name}" if bare in _OWN or bare in _torchvision_names() else name,
        library="timm",
        build=partial(_build_timm, name),
        input_size=size,
        num_classes=(config.num_classes if config else 0) or 1000,
        paper=f"timm {name}",
        published_on="",
        family=timm.models.model_entrypoint(bare).__module__.rpartition(".")[2],
        public_weights=tuple(
            PublicWeights(tagged, TIMM_ERRORS.get(tagged))
            for tagged, one in found.items()
            if one.has_weights
        ),
    )
    return _with_row(entry, name)


def _build_timm(name: str, **arguments: Any) -> nn.Module:
    model: nn.Module = import_module("timm").create_model(name, pretrained=False, **arguments)
    return model


_FINDERS: dict[str, Callable[[str], Architecture | None]] = {
    "ensembles": _own,
    "torchvision": _torchvision,
    "timm": _timm,
}


@cache
def _torchvision_names() -> tuple[str, ...]:
    models = import_module("torchvision.models")
    return tuple(models.list_models(module=models))


def _timm_installed() -> bool:
    return find_spec("timm") is not None


def _timm_names() -> list[str]:
    if not _timm_installed():
        return []
    names: list[str] = import_module("timm").list_models()
    return names


def _unknown_library(library: str) -> str:
    return (
        f"unknown library {library!r}; there are {', '.join(LIBRARIES[:-1])} and {LIBRARIES[-1]} "
        "(a function of your own is FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION)"
    )


def _unknown(name: str, bare: str, libraries: tuple[str, ...], others: Iterable[str]) -> str:
    own = {**_OWN, **_LANGUAGE}
    names = {"ensembles": own, "torchvision": _torchvision_names(), "timm": _timm_names()}
    known = list(dict.fromkeys(one for source in libraries for one in names[source]))
    hint = _other_sizes(bare, known) + nearest(bare, dict.fromkeys((*known, *others)))
    message = (
        f"unknown model {name!r}{hint or '; `ensembles models` lists those of the literature'}"
    )
    if "timm" in libraries and not _timm_installed():
        message += f"; if it is one of timm's, {_TIMM_MISSING}"
    return message


def _without_sizes(name: str) -> str:
    """A name with a sign for each number, whatever joins them: ``wrn-28-10`` is ``wrn##``."""
    return re.sub("[-_]", "", re.sub(r"\d+", "#", name.lower()))


def _other_sizes(name: str, known: Iterable[str]) -> str:
    """Depths, or sizes, of the architectures whose names differ from this one in numbers."""
    wanted = _without_sizes(name)
    found = {
        other: [int(number) for number in re.findall(r"\d+", other)]
        for other in known
        if "#" in wanted and _without_sizes(other) == wanted
    }
    if len(found) < 2:
        return ""
    first = min(found, key=found.__getitem__)
    if len(found[first]) > 1 or not found.keys() & _OWN.keys():
        return f"; there are {_listed(sorted(found, key=found.__getitem__), 'and')}"
    depths = sorted(number for (number,) in found.values())
    family = re.sub(r"\d+", "N", re.sub(r"\d+$", "", first))
    return f"; {family} has {_listed(map(str, depths), 'or')} layers"


def _listed(items: Iterable[str], joint: str) -> str:
    *first, last = items
    return f"{', '.join(first)} {joint} {last}"
