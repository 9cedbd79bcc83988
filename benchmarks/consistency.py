"""What decomposes: all of torchvision's classification networks, and timm family by family.

    python benchmarks/consistency.py --docs docs/decomposition.md

Each network is built with random weights, decomposed on a small batch, and its parts are compared
with it. A worker runs them one after another; one that takes too long is ended and reported.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SIZES = (64, 96, 128, 160, 192, 224)
IMAGES = 2


@dataclass
class Row:
    """What one network gave."""

    model: str
    family: str
    size: int = 0
    blocks: int = 0
    transitions: int = 0
    found: dict[str, int] = field(default_factory=dict)
    adapted: int = 0
    seconds: float = 0.0
    problem: str = ""


def families(library: str) -> Iterator[tuple[str, str]]:
    """Names of networks with their families; for timm the smallest of each module."""
    if library == "torchvision":
        from torchvision import models

        yield from ((name, "torchvision") for name in models.list_models(module=models))
        return
    import timm
    import torch

    for module in timm.list_modules():
        sizes = {}
        for name in timm.list_models(module=module):
            if not name.startswith("test_"):
                with torch.device("meta"):
                    net = timm.create_model(name)
                sizes[name] = sum(weight.numel() for weight in net.parameters())
        yield f"timm:{min(sizes, key=sizes.__getitem__)}", module


def examine(name: str, family: str, size: int = 0) -> Row:
    """Build one network with random weights, decompose it, and describe what was found."""
    import torch

    from ensembles.decomposition import decompose
    from ensembles.errors import EnsemblesError
    from ensembles.models import architecture

    torch.set_num_threads(1)
    started = time.perf_counter()
    row = Row(name, family)
    try:
        model = cheaply(name)
        sizes = [size] if size else [s for s in SIZES]
        own = architecture(name).input_size[-1]
        example, row.size = fitting(model, [s for s in sizes if s <= own] or [own], own)
        net = decompose(model, example)
    except EnsemblesError as error:
        row.problem = str(error)
    except Exception as error:
        row.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    else:
        row.blocks, row.transitions = len(net), len(net.transitions)
        row.found = dict(net.found)
        row.adapted = sum(block.adapter is not None for block in net)
    row.seconds = time.perf_counter() - started
    return row


def cheaply(name: str) -> Any:
    """Build a network without its initialisation, then fill it with numbers of a sane scale."""
    import torch
    from torch.overrides import TorchFunctionMode

    from ensembles.models import create_model

    random = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_}

    class Skip(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            return args[0] if function in random else function(*args, **(kwargs or {}))

    arguments = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with Skip():
        model = create_model(name, **arguments)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            fill(key, weight, generator)
    return model


def fill(key: str, weight: Any, generator: Any) -> None:
    """Uniform numbers: unit gain for matrices, about one for scales, about nought for biases."""
    scale = re.search(r"(weight|gamma|scale|alpha|gain|ls\d?|beta)$", key) is not None
    if weight.ndim <= 1 or weight.numel() == max(weight.shape):
        weight.uniform_(0.8, 1.2, generator=generator)
        weight.sub_(0.0 if scale else 1.0)
    else:
        weight.uniform_(-1, 1, generator=generator)
        weight.mul_((3 / max(1, weight[0].numel())) ** 0.5)


def fitting(model: Any, sizes: Iterable[int], own: int) -> tuple[Any, int]:
    """Find the smallest input that a network takes."""
    import torch

    generator = torch.Generator().manual_seed(0)
    model.eval()
    for size in sizes:
        example = torch.randn(IMAGES, 3, size, size, generator=generator)
        if size == own:
            break
        try:
            with torch.no_grad():
                model(example[:1])
            break
        except Exception:
            continue
    else:
        example, size = torch.randn(IMAGES, 3, own, own, generator=generator), own
    return example, size


def serve(pipe: Connection) -> None:
    """Examine what comes through a pipe (runs in a process of its own)."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    while (job := pipe.recv()) is not None:
        pipe.send(examine(*job))


def rows(jobs: Iterable[tuple[str, str]], limit: float) -> Iterator[Row]:
    """Examine networks one after another; start afresh after one that ran out of time."""
    context = multiprocessing.get_context("spawn")
    pipe: Connection | None = None
    worker = None
    for name, family in jobs:
        if pipe is None:
            pipe, theirs = context.Pipe()
            worker = context.Process(target=serve, args=(theirs,), daemon=True)
            worker.start()
            theirs.close()
        try:
            pipe.send((name, family))
            row = pipe.recv() if pipe.poll(limit) else None
        except (EOFError, BrokenPipeError):
            row = Row(name, family, problem="the process ended (out of memory?)")
            pipe = None
        if row is None:
            assert worker is not None
            worker.kill()
            row, pipe = Row(name, family, problem=f"more than {limit:g} s"), None
        yield row
    if pipe is not None:
        pipe.send(None)


def line(row: Row) -> str:
    """One row of the table."""
    found = ", ".join(f"{count} {kind}" for kind, count in row.found.items())
    end = row.problem or f"{found}; {row.transitions} transitions; {row.adapted} adapted"
    return f"{row.family:28s} {row.model:36s} {row.size:4d} {row.blocks:4d}  {end}  {row.seconds:.1f} s"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["torchvision", "timm", "both"], default="both")
    parser.add_argument("--models", nargs="*")
    parser.add_argument("--limit", type=float, default=300.0)
    arguments = parser.parse_args()
    jobs: list[tuple[str, str]] = []
    if arguments.models:
        jobs = [(name, "") for name in arguments.models]
    else:
        for library in ("torchvision", "timm"):
            if arguments.library in (library, "both"):
                jobs += families(library)
    for row in rows(jobs, arguments.limit):
        print(line(row), flush=True)


if __name__ == "__main__":
    main()
