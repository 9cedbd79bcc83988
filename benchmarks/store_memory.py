"""Memory that runs out at any operation of a sweep: the counts stay what they are without.

    python benchmarks/store_memory.py                 # every operation, both engines
    python benchmarks/store_memory.py --every 50

A small network, 16 lesions, two batches of 12 images, swept into a store. The sweep is run once
to count the tensor operations of its evaluation (as PyTorch dispatches them: convolutions,
additions, copies, counting); then once for each of them, which fails as a full GPU makes it fail.
Batches are halved, and every count must be that of the undisturbed sweep. *Always*: one lesion
fails whenever it is run; it alone is missing, and the sweep says so.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from machine import describe, parser, seconds
from store_faults import Subject, subject
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import ensembles
from ensembles.analyses import lesion_sweep
from ensembles.engine import evaluation
from ensembles.lesions import Lesion, Program

FULL = "CUDA out of memory (injected)"


class Scarce(TorchDispatchMode):
    """Counts operations, and lets one of them fail for memory."""

    def __init__(self, fails: int = 0) -> None:
        super().__init__()
        self.fails, self.calls = fails, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if self.calls == self.fails:
            raise torch.OutOfMemoryError(FULL)
        return func(*args, **(kwargs or {}))


@contextmanager
def scarce(fails: int = 0) -> Iterator[Scarce]:
    """Let an operation of an evaluation fail, by its number."""
    mode, measure = Scarce(fails), lesion_sweep.evaluate_each

    def measured(*arguments: Any, **options: Any) -> Any:
        with mode:
            return measure(*arguments, **options)

    lesion_sweep.evaluate_each = measured
    try:
        yield mode
    finally:
        lesion_sweep.evaluate_each = measure


def swept(made: Subject, path: Path, engine: str) -> pd.DataFrame:
    net, data, lesions = made
    path.unlink(missing_ok=True)
    return ensembles.lesion(
        net, data, lesions, store=path, engine=engine, batch_size=12, device="cpu", progress=False
    )


def equal(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """All counts alike; the loss is a sum of rounded numbers, in another order."""
    pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-6, atol=0)
    for column in ("correct", "total", "nonfinite"):
        assert (found[column] == expected[column]).all(), column


def once(made: Subject, path: Path, engine: str, every: int = 1) -> str:
    """Fail each operation in turn (or every so many)."""
    with scarce() as mode:
        expected = swept(made, path, engine)
    calls = range(1, mode.calls + 1, every)
    for call in calls:
        with scarce(call) as failing:
            found = swept(made, path, engine)
        assert failing.calls > mode.calls, f"{engine}, call {call}: nothing was run again"
        equal(found, expected)
    return f"{engine}: {len(calls)} of {mode.calls} operations failed in turn, all counts the same"


def always(made: Subject, path: Path, engine: str) -> str:
    """Fail one lesion whenever it is run."""
    expected = swept(made, path, engine)
    unlucky = Lesion("delete", (2,))
    usual = evaluation.choose_engine(engine, torch.device("cpu"))

    class Failing(usual):  # type: ignore[misc,valid-type]
        def __init__(self, net: Any, programs: Sequence[Program], *rest: Any, **more: Any) -> None:
            super().__init__(net, programs, *rest, **more)
            program = unlucky.program(len(net))
            self.doomed = {number for number, one in enumerate(programs) if one == program}

        def run(self, inputs: Tensor) -> Iterator[tuple[int, Tensor]]:
            for number, logits in super().run(inputs):
                if number in self.doomed:
                    raise torch.OutOfMemoryError(FULL)
                yield number, logits

    evaluation.choose_engine, before = lambda *_: Failing, evaluation.choose_engine
    try:
        found = swept(made, path, engine)
    finally:
        evaluation.choose_engine = before
    [failed] = found.attrs["failed"]
    assert failed["blocks"] == unlucky.text, failed
    kept = expected["lesion"].ne("delete") | expected["blocks"].ne(unlucky.text)
    equal(found, expected[kept].reset_index(drop=True))
    return f"{engine}: {len(found)} lesions measured and one failed alone: {failed['reason']}"


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--every", type=int, default=1, help="fail only every so many operations")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    net, data, lesions = subject()
    made = net, data, lesions[:16]
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        for engine in ("shared", "direct"):
            print(once(made, Path(folder) / "x.db", engine, chosen.every), flush=True)
            print(always(made, Path(folder) / "x.db", engine), flush=True)


if __name__ == "__main__":
    try:
        took = seconds(main)
    except AssertionError as error:
        sys.exit(f"failed: {error}")
    print(f"{took:.0f} s")
