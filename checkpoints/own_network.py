"""A network of the user's own, from a function of a Python file or of an installed module.

``path/to/file.py:function``, ``path/to/file.py:function(depth=20)``, ``package.module:function``.
"""

from __future__ import annotations

import ast
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.bounded import read_bytes
from ensembles.cards import Card, card_name
from ensembles.errors import EnsemblesError, ModelError
from ensembles.files import followed, home_expanded
from ensembles.guest import guest
from ensembles.models.parts import Architecture
from ensembles.models.registry import adopt

__all__ = ["adopted", "allow_in_studies", "is_own", "load_own", "placed_model", "refuse_in_study"]

_SIDES = (32, 224, 28, 64, 299)
_GIVEN: dict[str, str] = {}
"""What was given, by the name of the architecture, which has no spaces."""

_ALLOWED = "ENSEMBLES_RUN_MODEL_FILES"


_NAME = re.compile(
    r"(?P<place>.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+):(?P<function>[^:(]*)(?P<call>\(.*\))?",
    re.DOTALL,
)


def is_own(name: str) -> bool:
    """Whether a name means a function in a Python file or module."""
    return _NAME.fullmatch(name) is not None


def _parts(name: str) -> tuple[str, str, dict[str, Any]]:
    """The file or module, the function, and the arguments that it is called with."""
    found = _NAME.fullmatch(name)
    assert found is not None
    return found["place"], found["function"].strip(), _arguments(name, found["call"] or "()")


def _arguments(name: str, call: str) -> dict[str, Any]:
    """Named arguments that are plain values; nothing in their text is run."""
    try:
        parsed = ast.parse(f"f{call}", mode="eval").body
        if not isinstance(parsed, ast.Call) or parsed.args:
            raise ValueError
        return {str(one.arg): ast.literal_eval(one.value) for one in parsed.keywords if one.arg}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ModelError(
            f"model {name!r}: the arguments {call}; expected names with plain values, such as "
            "(depth=20, width=0.5, kind='basic')"
        ) from None


def load_own(name: str, more: Mapping[str, Any] | None = None) -> tuple[nn.Module, Card]:
    """The network that a function gives, as it gives it, and what is known of it.

    Raises:
        ModelError: As :func:`adopted` raises it.
    """
    entry = adopted(name)
    path, function, arguments = _parts(name)
    told = [f"{key}-{value}" for key, value in arguments.items()]
    card = Card(
        card_name("-".join([Path(path).stem, function, *told])),
        entry.name,
        entry.num_classes,
        source=path,
    )
    with torch.random.fork_rng(devices=[]):
        return entry.build(**(more or {})).eval(), card


def adopted(name: str) -> Architecture:
    """An architecture of the network, which goes by this name for the rest of the process.

    The file is run, or the module imported, and its function called with the arguments that are
    named; the folder of the file, or the current one, comes last among those that it imports from.

    Args:
        name: The path of the file or the name of the module, a colon, the name of the function, and
            arguments in brackets, if any.

    Raises:
        ModelError: When there is no such file or function, running it fails, or what comes is no
            network that takes images and gives a value for each class.
    """
    given = _GIVEN.get(name, name)
    entry = _entry(given, os.fspath(Path.cwd()))
    _GIVEN[entry.name] = given
    for one in (given, entry.name):
        adopt(one, entry)
    return entry


@cache
def _entry(name: str, _folder: str) -> Architecture:
    path, function, arguments = _parts(name)
    build = _builder(name, path, function, arguments)
    with torch.random.fork_rng(devices=[]):
        size, classes = _sizes(name, build().eval())

    def built(num_classes: int = classes, **more: Any) -> nn.Module:
        if num_classes != classes:
            raise ValueError(f"it gives {classes} classes, and {num_classes} are asked for")
        return build(**more)

    return Architecture(
        re.sub(r"\s", "_", name), "file", built, size, classes, paper=path, published_on=""
    )


def _builder(
    name: str, path: str, function: str, arguments: dict[str, Any]
) -> Callable[..., nn.Module]:
    """The function, held to give a network."""
    if not function.isidentifier():
        raise ModelError(f"model {name!r}: expected the name of a function after the colon")
    module = _module(name, path) if path.endswith(".py") else _imported(name, path)
    call = getattr(module, function, None)
    if not callable(call):
        there = [key for key, one in vars(module).items() if callable(one) and key[0] != "_"]
        known = f"; there are {', '.join(there[:9])}" if there else ""
        what = "has no function" if call is None else "has a value, no function, called"
        raise ModelError(f"model {name!r}: {path} {what} {function!r}{known}")

    def build(**more: Any) -> nn.Module:
        made = _run(name, f"calling {function}()", partial(call, **arguments, **more))
        if isinstance(made, nn.Module):
            return made
        raise ModelError(
            f"model {name!r}: {function}() gives a {type(made).__name__}; expected an nn.Module"
        )

    return build


def _imported(name: str, path: str) -> ModuleType:
    """Import a module by its name, also from the current folder."""
    sys.path.append(os.fspath(Path.cwd()))
    try:
        found = _run(name, f"importing {path}", lambda: import_module(path))
    finally:
        with suppress(ValueError):
            sys.path.remove(os.fspath(Path.cwd()))
    assert isinstance(found, ModuleType)
    return found


def _module(name: str, path: str) -> ModuleType:
    """Run exactly this file; nothing that was compiled of it before is taken."""
    try:
        file = followed(home_expanded(path))
    except OSError as error:
        raise ModelError(f"model {name!r}: {error.strerror}; name another file") from error
    if not file.exists():
        raise ModelError(f"model {name!r}: there is no file {path}; expected FILE.py:FUNCTION")
    source = read_bytes(file, "model file", error=ModelError, most=1 << 24)
    module = ModuleType(f"ensembles_model_file_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # dataclasses and pickles look there
    sys.path.append(str(file.parent))
    try:
        _run(
            name, "running the file", lambda: exec(compile(source, str(file), "exec"), vars(module))
        )
    finally:
        with suppress(ValueError):
            sys.path.remove(str(file.parent))
    return module


def _run(name: str, what: str, call: Callable[[], Any]) -> Any:
    """Run code of the file; whatever it raises becomes a line."""
    try:
        with guest(patience=None):
            return call()
    except (Exception, SystemExit) as error:
        if isinstance(error, EnsemblesError) and not isinstance(error, ModelError):
            raise
        reason = " ".join(str(error).split())[:300]
        said = f"{type(error).__name__}: {reason}".removesuffix(": ")
        raise ModelError(f"model {name!r}: {what} fails ({said}); mend the file") from error


def _sizes(name: str, model: nn.Module) -> tuple[tuple[int, int, int], int]:
    """Images that it takes, (channels, height, width), and how many classes it gives."""
    stated = getattr(model, "num_classes", None)
    classes = stated if type(stated) is int and stated > 0 else None
    for size in _images(model):
        with suppress(Exception), torch.no_grad():
            found = _logits(model(torch.zeros(2, *size)))
            if found is not None and found.ndim == 2 and len(found) == 2:
                return size, classes or found.shape[1]
    if classes:
        return (3, 224, 224), classes
    raise ModelError(
        f"model {name!r}: it gives no values of classes, (images, classes), for any images that "
        "were tried; say how many classes it has by an attribute num_classes"
    )


def _images(model: nn.Module) -> list[tuple[int, int, int]]:
    """Sizes of images to try: as its first layer that says so takes them."""
    for one in model.modules():
        if isinstance(one, nn.Conv2d):
            return [(one.in_channels, side, side) for side in _SIDES]
        if isinstance(one, nn.Linear):
            sides = ((c, math.isqrt(one.in_features // c)) for c in (3, 1))
            return [(c, s, s) for c, s in sides if c * s * s == one.in_features]
    return [(3, side, side) for side in _SIDES]


def _logits(output: Any) -> Tensor | None:
    if isinstance(output, Mapping):
        output = output.get("logits", next(iter(output.values()), None))
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def allow_in_studies() -> None:
    """Let studies name files of this kind, in this process and those that it starts."""
    os.environ[_ALLOWED] = "1"


def placed_model(name: str, place: Callable[[str], str | None]) -> str:
    """The name with the file where a study has it; any other name as it is."""
    found = _NAME.fullmatch(name)
    if found is None or not found["place"].endswith(".py"):
        return name
    return f"{place(found['place'])}{name[len(found['place']) :]}"


def refuse_in_study(name: str) -> None:
    """Refuse to run a file because a study says so, unless the user has allowed it.

    Raises:
        ModelError: If it was not allowed.
    """
    if is_own(name) and os.environ.get(_ALLOWED) != "1":
        raise ModelError(
            f"model {name!r} would run code of a Python file or module; where the study and the "
            "code are your own, give --run-model-files"
        )
