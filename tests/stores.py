"""A small trained-looking network with its images, and processes that work on a store of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from networks import CLASSES, build

import ensembles
from ensembles.data import ImageDataset
from ensembles.data.normalization import Normalization
from ensembles.data.sources import MemorySource
from ensembles.lesions import Lesion, intact, random_deletions, single_deletions
from ensembles.metrics import Outcome
from ensembles.store import Store, filler

PLAN = [("post", 6, 1), ("pre", 6, 1), ("post", 8, 2), ("post", 8, 1), ("post", 8, 1)]


class Small(filler.Pace):
    """Units of at most three lesions."""

    def size(self) -> int:
        return 3


def model(seed: int = 1) -> torch.nn.Module:
    """A network whose logits are centred, so that it finds every class in noise."""
    network = build(PLAN, seed=seed)
    pixels = torch.randint(
        0, 256, (40, 3, 8, 8), generator=torch.Generator().manual_seed(9), dtype=torch.uint8
    )
    with torch.no_grad():
        network.classifier.bias -= network(Normalization.parse("0.4/0.2")(pixels)).mean(0)
    return network


def fill(disk: Path) -> Path:
    """Write a file until nothing more can be written on a disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


@cache
def images(number: int = 30, normalization: str = "0.4/0.2", seed: int = 0) -> ImageDataset:
    """Images whose labels the intact network mostly finds."""
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (number, 3, 8, 8), generator=draw, dtype=torch.uint8)
    chosen = Normalization.parse(normalization)
    with torch.no_grad():
        labels = model()(Normalization.parse("0.4/0.2")(pixels)).argmax(1)
    labels[::4] = torch.randint(0, CLASSES, (len(labels[::4]),), generator=draw)
    classes = tuple(f"class {number}" for number in range(CLASSES))
    return ImageDataset("noise", "test", classes, MemorySource(pixels, labels.clone()), chosen)


def decomposed(network: torch.nn.Module | None = None, **options: object):
    """A network taken apart; the usual one is so once, for nothing changes it."""
    if network is None and not options:
        return usual()
    example = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    return ensembles.decompose(network or model(), example, **options)


@cache
def usual():
    return decomposed(model())


def lesions(trials: int = 2) -> list:
    n = len(PLAN)
    return [intact(), *single_deletions(n), *random_deletions(n, [2, 3], trials)]


def sweep(path: Path | Store, wanted: list | None = None, **options: object):
    """A sweep of the network into a store; few operations are compiled."""
    given = {"net": decomposed(), "data": images(), "device": "cpu", "engine": "direct", **options}
    return ensembles.lesion(lesions=wanted or lesions(), store=path, progress=False, **given)


def outcome(
    lesion: Lesion, correct: int = 1, loss: float = 0.5, total: int = 30, **states: list[float]
) -> Outcome:
    """What came of a lesion, by hand."""
    kept = {"top1": [correct], "loss": [loss], **states}
    return Outcome(lesion, total, 0, {name: np.array(state, float) for name, state in kept.items()})


def table(path: Path):
    with Store(path, mode="r") as store:
        [context] = store.contexts()
        return store.frame(context)


def modules_after(code: str, path: Path) -> list[str]:
    """Which heavy packages are imported once a store was asked something, in another process."""
    heavy = "[m for m in ('torch', 'pandas', 'numpy', 'ensembles.lesions') if m in sys.modules]"
    whole = (
        "import sys; from ensembles.store import Store\n"
        f"with Store(sys.argv[1], mode='r') as s:\n    {code}\nprint(*{heavy})"
    )
    done = subprocess.run(
        [sys.executable, "-c", whole, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def in_a_process(work: Callable[[], object], errors: Path | None = None) -> int:
    """Do work in a forked process.

    Args:
        work: Its SystemExit becomes the exit status; other errors are written and give 9.
        errors: Where standard error goes.

    Returns:
        The number of the process.
    """
    child = os.fork()
    if child:
        return child
    code = 0
    with contextlib.suppress(BaseException):
        if errors is not None:
            os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
            sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        torch.set_num_threads(1)  # the threads of the process that forks are not there
        try:
            work()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            code = 9
    os._exit(code)


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def command_line(path: Path, **options: object) -> None:
    """`ensembles lesion --store PATH` on the small network, in units of three lesions."""
    from ensembles.cli import lesion as command
    from ensembles.cli import main

    net, data = decomposed(), images(**options)
    subject = SimpleNamespace(
        name="small", card=SimpleNamespace(name="small"), net=net, data=data, about={}, images="",
        labels="", lesions=lambda _: lesions(), materials={},
    )  # fmt: skip
    command.open_subjects = lambda *_, **__: [subject]
    filler.Pace = Small
    sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    main(["lesion", "--store", str(path), "--predictions", "--engine", "direct"])


def all_of(path: Path) -> str:
    """Everything that a store tells, as text."""
    with Store(path, mode="r") as store:
        told = [store.summary(), dict(store.notes())]
        for context in store.contexts():
            told += [context.key.text, context.about, store.labels(context).tolist()]
            told += [store.provenance(context), store.frame(context).to_csv()]
            told += [store.class_frame(context).to_csv()]
            told += [(str(k), why) for k, why in store.failures(context).items()]
            told += [(one.attrs, one.to_csv()) for one in store.analyses(context)]
            told += [(str(k), v.tolist()) for k, v in store.predictions(context).items()]
    return json.dumps(told, default=str)
