"""Modules and weights that a model uses and does not register: in lists, mappings, closures."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

__all__ = ["adopt", "tensor_names", "uncopied"]

_TORCH = frozenset(vars(nn.Module()))


def adopt(model: nn.Module) -> None:
    """Register the modules that a copy of a model holds in plain lists, tuples and mappings.

    They get the name by which the model reaches them, such as ``layers[3]``.

    Args:
        model: A private copy.
    """
    known = {id(module) for module in model.modules()}
    open_modules = [model]
    while open_modules:
        owner = open_modules.pop(0)
        for name, module in list(_held(owner)):
            if id(module) in known or "." in name:
                continue
            owner._modules[name] = module
            known |= {id(inner) for inner in module.modules()}
        open_modules += owner.children()


def _held(owner: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that a module keeps in its own attributes."""
    for name, value in vars(owner).items():
        if name not in _TORCH:
            for place, held in _within(name, value):
                if isinstance(held, nn.Module):
                    yield place, held


def _within(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """What an attribute is, or holds in lists and mappings, each with its name."""
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        yield name, value
        return
    if depth < 3:
        for key, item in items:
            yield from _within(f"{name}[{key}]", item, depth + 1)


def uncopied(model: nn.Module) -> dict[int, Any]:
    """What modules hold that cannot be copied, by id: locks, files, iterators, writers of logs.

    A copy shares it with the model, as it may share hooks. What holds tensors is left out.
    """
    found: dict[int, Any] = {}
    for module in model.modules():
        for name, value in vars(module).items():
            parts = () if name in _TORCH else [part for _, part in _within(name, value)]
            if not any(isinstance(part, (Tensor, nn.Module)) for part in parts):
                found |= {id(part): part for part in parts if not _copies(part)}
    return found


def _copies(value: Any) -> bool:
    try:
        copy.deepcopy(value)
    except Exception:  # whatever its class raises
        return False
    return True


def tensor_names(model: nn.Module) -> dict[int, str]:
    """Names for the tensors that a model can reach and does not register.

    Args:
        model: A private copy.

    Returns:
        The name of each by its id: an attribute, or a variable of a function that it calls.
    """
    found: dict[int, str] = {}
    seen: set[int] = set()

    def enter(name: str, value: Any, depth: int = 0) -> None:
        for place, held in _within(name, value):
            if isinstance(held, Tensor):
                found.setdefault(id(held), place)
            elif isinstance(held, nn.Module):
                for inner, tensor in (*held.named_parameters(), *held.named_buffers()):
                    found.setdefault(id(tensor), f"{place}.{inner}".removeprefix("."))
            elif isinstance(held, (FunctionType, MethodType)) and depth < 3:
                function = held.__func__ if isinstance(held, MethodType) else held
                if id(function) not in seen and isinstance(function, FunctionType):
                    seen.add(id(function))
                    for variable, inside in _variables(function):
                        enter(variable, inside, depth + 1)

    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in _TORCH or name == "forward":
                enter(f"{path}.{name}".removeprefix("."), value)
        enter(path, inspect.getattr_static(type(module), "forward", None))
    return found


def _variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The variables outside a function that it reads."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not set yet
            continue
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield name, function.__globals__[name]
