"""What decomposes: all of torchvision's classification networks, and timm family by family.

    python benchmarks/consistency.py --write

Each network gets random weights and is taken apart on a small batch; its parts must compute what
it computes. A worker examines them one after another on one thread, each for a
limited time of computing. `--write` puts the tables into docs/decomposition.md.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

SIZES = (64, 96, 128, 160, 192, 224)
IMAGES = 2
DOCS = Path(__file__).parent.parent / "docs" / "decomposition.md"


@dataclass
class Row:
    """What one network gave.

    Attributes:
        family: The library, or the module of timm.
        model: The architecture.
        size: Height and width of the images.
        parameters: Of the whole network.
        kinds: How many blocks of each kind were taken.
        transitions: How many of them change the shape on their shortcut.
        deletable: How many of them can be deleted.
        inside: Share of the parameters in use that lies in blocks.
        seconds: Wall time with building.
        problem: Why it does not decompose ("" where it does).
    """

    family: str
    model: str
    size: int = 0
    parameters: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    transitions: int = 0
    deletable: int = 0
    inside: float = 0.0
    seconds: float = 0.0
    problem: str = ""


def torchvision_models() -> Iterator[tuple[str, str]]:
    """(family, name) of all classification networks."""
    from torchvision import models

    for name in models.list_models(module=models):
        yield "torchvision", f"torchvision:{name}"


def timm_models(prefixes: bool = False) -> Iterator[tuple[str, str]]:
    """(module, name) of the smallest network of each module of timm.

    Args:
        prefixes: Also of each beginning of a name within a module (seresnet, ecaresnet, ...).
    """
    import timm
    import torch

    for module in timm.list_modules():
        smallest: dict[str, tuple[int, str]] = {}
        for name in timm.list_models(module=module):
            if name.startswith("test_"):
                continue
            with torch.device("meta"):
                size = sum(weight.numel() for weight in timm.create_model(name).parameters())
            key = re.split(r"[\d_]", name)[0] if prefixes else module
            smallest[key] = min(smallest.get(key, (size, name)), (size, name))
        yield from ((module, f"timm:{name}") for _, name in smallest.values())


def cheaply(name: str, **arguments: Any) -> Any:
    """Build a network without its initialisation, then fill it with numbers of a sane scale."""
    import torch
    from torch.overrides import TorchFunctionMode

    from ensembles.models import create_model

    drawn = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_}

    class Skip(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            return args[0].zero_() if function in drawn else function(*args, **(kwargs or {}))

    slow = name.endswith((":googlenet", ":inception_v3")) and name.startswith("torchvision")
    with Skip():
        model = create_model(name, **({"init_weights": False} if slow else {}), **arguments)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            _fill(key, weight, generator)
    return model


def _fill(key: str, weight: Any, generator: Any) -> None:
    """Uniform numbers: unit gain for matrices, about one for scales, about nought for biases."""
    if weight.numel() == max((1, *weight.shape)):
        scale = re.search(r"(weight|gamma|scale|alpha|gain|beta|ls\d?)$", key) is not None
        weight.uniform_(0.8, 1.2, generator=generator).sub_(0.0 if scale else 1.0)
    else:
        weight.uniform_(-1, 1, generator=generator)
        weight.mul_((3 / max(1, weight[0].numel())) ** 0.5)


def smallest_input(model: Any, own: int) -> Any:
    """Random images of the smallest size that a network takes, at most its own."""
    import torch

    generator = torch.Generator().manual_seed(0)
    model.eval()
    for size in (*(size for size in SIZES if size < own), own):
        images = torch.randn(IMAGES, 3, size, size, generator=generator)
        try:
            with torch.no_grad():
                model(images[:1])
        except Exception:
            continue
        return images
    return images


def examine(family: str, name: str, size: int | None = None, **arguments: Any) -> Row:
    """Build one network with random weights, take it apart, and say what was found.

    Args:
        family: Goes into the result.
        name: The architecture.
        size: Height and width of the images; by default the smallest that it takes.
        **arguments: For the architecture.
    """
    import torch

    from ensembles.decomposition import decompose
    from ensembles.errors import EnsemblesError
    from ensembles.models import architecture

    torch.set_num_threads(1)
    started = time.perf_counter()
    row = Row(family, name)
    try:
        model = cheaply(name, **arguments)
        row.parameters = sum(weight.numel() for weight in model.parameters())
        if size is None:
            images = smallest_input(model, architecture(name).input_size[-1])
        else:
            images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        row.size = images.shape[-1]
        net = decompose(model, images)
    except EnsemblesError as error:
        row.problem = str(error)
    except Exception as error:
        row.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    else:
        kinds = [block.kind for block in net]
        row.kinds = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
        row.transitions = len(net.transitions)
        row.deletable = sum(block.deletable for block in net)
        used = sum(weight.numel() for weight in net.traced.parameters())
        row.inside = sum(block.parameter_count for block in net) / max(1, used)
        if not row.deletable:
            row.problem = "no block can be deleted: all of it runs beside something else"
    row.seconds = time.perf_counter() - started
    return row


def serve(pipe: Connection, limit: float) -> None:
    """Examine what comes through a pipe (runs in a process of its own)."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {limit:g} s of computing")

    signal.signal(signal.SIGPROF, stop)
    while (job := pipe.recv()) is not None:
        signal.setitimer(signal.ITIMER_PROF, limit)
        pipe.send(examine(*job))


class Worker:
    """A process that examines networks, and is replaced when one of them ends it."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.process: BaseProcess | None = None

    def examine(self, family: str, name: str) -> Row:
        """Examine a network within the time limit."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(theirs, self.limit), daemon=True)
            self.process.start()
            theirs.close()
        try:
            self.pipe.send((family, name))
            found: Row = self.pipe.recv()
            return found
        except (EOFError, BrokenPipeError):
            self.close()
            return Row(family, name, problem="the process ended (out of memory?)")

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def line(row: Row) -> str:
    """A row of a table in Markdown."""
    name = row.model.partition(":")[2] or row.model
    blocks = " + ".join(f"{count} {kind}" for kind, count in row.kinds.items())
    if row.problem:
        blocks = f"**no**: {row.problem}"
    cells = (
        *((row.family,) if row.family != "torchvision" else ()),
        name,
        f"{row.parameters / 1e6:.1f}",
        str(row.size),
        blocks,
        str(row.transitions),
        f"{100 * row.inside:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def table(rows: list[Row]) -> str:
    """A table in Markdown."""
    head = [
        "model",
        "million parameters",
        "image",
        "blocks",
        "transitions",
        "% of parameters inside",
    ]
    if rows and rows[0].family != "torchvision":
        head.insert(0, "module")
    return "\n".join([f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *map(line, rows)])


def summary(library: str, rows: list[Row]) -> str:
    """How many of a library decompose."""
    good = sum(not row.problem for row in rows)
    what = "architectures" if library == "torchvision" else "modules, the smallest network of each"
    return (
        f"{library} {version(library)} (torch {version('torch')}): {good} of {len(rows)} {what}, "
        f"{100 * good / len(rows):.1f} %."
    )


def write(library: str, rows: list[Row]) -> None:
    """Put a table into the documentation, between its two marks."""
    text = DOCS.read_text()
    begin, end = f"<!-- {library}: begin -->\n", f"<!-- {library}: end -->"
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    body = f"{summary(library, rows)}\n\n{table(rows)}\n"
    DOCS.write_text(f"{before}{begin}{body}{end}{after}")


def update(rows: list[Row]) -> None:
    """Replace single rows of the tables in the documentation."""
    lines = DOCS.read_text().split("\n")
    for row in rows:
        name = row.model.partition(":")[2] or row.model
        for place, old in enumerate(lines):
            cells = [cell.strip() for cell in old.strip("|").split("|")]
            if name in cells[:2] and len(cells) in (6, 7):
                row.family = cells[0] if len(cells) == 7 else "torchvision"
                lines[place] = line(row)
    DOCS.write_text("\n".join(lines))


def main() -> None:
    """Run, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--library", choices=["torchvision", "timm"], help="default: both")
    parser.add_argument("--models", nargs="*", help="only these, whose rows are replaced")
    parser.add_argument("--prefixes", action="store_true", help="more of timm; never written")
    parser.add_argument(
        "--limit", type=float, default=600.0, help="seconds of computing for a network"
    )
    parser.add_argument("--write", action="store_true", help="into docs/decomposition.md")
    arguments = parser.parse_args()
    sources: dict[str, Callable[[], Iterable[tuple[str, str]]]] = {
        "torchvision": torchvision_models,
        "timm": lambda: timm_models(arguments.prefixes),
    }
    if arguments.models:
        sources = {"timm": lambda: [("chosen", name) for name in arguments.models]}
    worker = Worker(arguments.limit)
    for library, source in sources.items():
        if arguments.library not in (None, library):
            continue
        found = []
        for job in source():
            found.append(worker.examine(*job))
            print(f"{line(found[-1])} {found[-1].seconds:.1f} s", flush=True)
        print(summary(library, found), flush=True)
        if arguments.write and arguments.models:
            update(found)
        elif arguments.write and not arguments.prefixes:
            write(library, found)
    worker.close()


if __name__ == "__main__":
    main()
