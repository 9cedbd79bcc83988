"""One network is taken apart: what is found, whether its deletions agree and its paths add up."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from definitions import blocks_by_definition
from small_networks import Network
from torch import Tensor, nn

from ensembles.decomposition import Decomposition, decompose
from ensembles.engine.direct import Direct
from ensembles.engine.materials import Materials
from ensembles.engine.shared import SharedPrefixes
from ensembles.errors import EnsemblesError
from ensembles.lesions import Delete
from ensembles.unravelling.image_rows import image_rows
from ensembles.unravelling.linearization import require_paths
from ensembles.unravelling.measurement import measure_logits

__all__ = ["Row", "Worker", "deletions", "examine", "now"]


class OutOfTime(BaseException):
    """Not an Exception, so that nothing takes it for a fault of the network."""


@dataclass
class Row:
    """What one network gave.

    Attributes:
        family: The module of the library.
        model: The network.
        parameters: Of the whole network.
        input: The shape of a row of its inputs.
        kinds: How many blocks of each kind were taken.
        definition: How many it has by its definition; None where none is known.
        transitions: How many of them change the shape on their shortcut.
        deletable: How many of them can be deleted.
        inside: Share of the parameters in use that lies in blocks.
        deletions: Whether engines agree on them.
        paths: How far the logits of all paths are from the network's own, or why there are none.
        seconds: Of computing, to take it apart.
        problem: Why it does not decompose ("" where it does).
        run: When.
        within: How many blocks lie inside others and were not taken.
    """

    family: str
    model: str
    parameters: int = 0
    input: str = ""
    kinds: dict[str, int] = field(default_factory=dict)
    definition: int | None = None
    transitions: int = 0
    deletable: int = 0
    inside: float = 0.0
    deletions: str = ""
    paths: str = ""
    seconds: float = 0.0
    problem: str = ""
    run: str = ""
    within: int = 0

    @property
    def blocks(self) -> str:
        """What was found: how many blocks of each kind, and how many more lie inside these."""
        found = " + ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        return f"{found} ({self.within} more inside)" if self.within else found


def now() -> str:
    """The minute."""
    return f"{datetime.now():%Y-%m-%d %H:%M}"


def examine(network: Network, limit: float | None = None) -> Row:
    """Build a network, take it apart, delete blocks and sum its paths.

    Args:
        network: What to build.
        limit: Seconds of computing for each of the three; None for no limit, and for taking the
            network apart alone.
    """
    row = Row(network.family, network.name, run=now())
    started = time.process_time()
    try:
        with _within(limit), torch.random.fork_rng():
            torch.manual_seed(0)
            model = network.build().eval()
            row.parameters = sum(weight.numel() for weight in model.parameters())
            example = network.example(model) if callable(network.example) else network.example
            row.input = _described(example)
            row.definition = blocks_by_definition(model, network.blocks)
            started = time.process_time()
            net = decompose(model, example)
    except EnsemblesError as error:
        row.problem = str(error)
    except OutOfTime:
        row.problem = f"more than {limit:g} s of computing"
    except Exception as error:  # the library's code runs here
        row.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    row.seconds = time.process_time() - started
    if row.problem:
        return row
    kinds = [block.kind for block in net]
    row.kinds = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    row.within = net.inside
    row.transitions = len(net.transitions)
    row.deletable = sum(block.deletable for block in net)
    used = sum(weight.numel() for weight in net.traced.parameters())
    row.inside = sum(block.parameter_count for block in net) / max(1, used)
    if not row.deletable:
        row.problem = "no block can be deleted: all of it runs beside something else"
    elif limit is not None:
        row.deletions = _in_time(limit, deletions, net, example)
        row.paths = _in_time(limit, _paths, net, example)
        apart = row.deletions[:1].isdigit() and len(set(row.deletions.split(" of "))) > 1
        if isinstance(example, Tensor) and (apart or "compute in fp64" in row.paths):
            _once_more(row, model, example, limit)
    return row


def _once_more(row: Row, model: nn.Module, example: Tensor, limit: float) -> None:
    """Tell rounding from a difference: the same in double precision, where the row says so."""
    double = example.double()
    net = decompose(model.double(), double)
    row.deletions = f"{_in_time(limit, deletions, net, double)} in fp64"
    row.paths = f"{_in_time(limit, _paths, net, double)} in fp64"


def _described(example: Any) -> str:
    tensors = example.values() if isinstance(example, dict) else [example]
    return ", ".join("x".join(map(str, tensor.shape[1:])) for tensor in tensors)


@contextmanager
def _within(limit: float | None) -> Iterator[None]:
    """Stop what takes more seconds of computing (in the main thread)."""

    def stop(*_: object) -> None:
        raise OutOfTime

    if limit is None:
        yield
        return
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _in_time(limit: float, work: Any, net: Decomposition, example: Any) -> str:
    try:
        with _within(limit):
            return str(work(net, example))
    except OutOfTime:
        return f"more than {limit:g} s"
    except EnsemblesError as error:
        return f"no: {error}"
    except Exception as error:
        return f"no: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def deletions(net: Decomposition, example: Any) -> str:
    """Whether both engines agree on deleting the first, a middle and the last block."""
    chosen = sorted({1, (len(net) + 1) // 2, len(net)})
    lesions = [Delete((index,)) for index in chosen if net.block(index).deletable]
    programs = [lesion.program(len(net)) for lesion in lesions]
    dtype = next(net.parameters()).dtype
    about = Materials(net), torch.device("cpu"), dtype
    with torch.no_grad():
        one, other = (
            dict(engine(net, programs, *about).run(example)) for engine in (Direct, SharedPrefixes)
        )
    agree = sum(
        torch.allclose(one[k], other[k], rtol=1e-4, atol=1e-4 * float(one[k].abs().max()))
        for k in one
    )
    return f"{agree} of {len(lesions)}"


def _paths(net: Decomposition, example: Any) -> str:
    """How far the logits of all paths of the first row are from the network's own."""
    require_paths(net)
    assert isinstance(example, Tensor)
    labels = torch.zeros(1, dtype=torch.long)
    return f"{measure_logits(image_rows(net), [(example[:1], labels)])[1]:.0e}"


def _serve(pipe: Connection, networks: Sequence[Network], limit: float) -> None:
    """Examine the networks whose numbers come through a pipe (runs in a process of its own)."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    while True:
        pipe.send(examine(networks[pipe.recv()], limit))


class Worker:
    """A process that examines networks, and is replaced when one of them ends it.

    Args:
        networks: All of them.
        limit: Seconds of computing for each step.
    """

    def __init__(self, networks: Sequence[Network], limit: float) -> None:
        self.networks, self.limit = networks, limit
        self.process: BaseProcess | None = None

    def examine(self, place: int) -> Row:
        """Examine the network at a place within the time limit."""
        if self.process is None:
            context = multiprocessing.get_context("fork")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(
                target=_serve, args=(theirs, self.networks, self.limit), daemon=True
            )
            self.process.start()
            theirs.close()
        try:
            self.pipe.send(place)
            found: Row = self.pipe.recv()
            return found
        except (EOFError, BrokenPipeError):
            self.close()
            network = self.networks[place]
            problem = "the process ended (out of memory?)"
            return Row(network.family, network.name, problem=problem, run=now())

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None
