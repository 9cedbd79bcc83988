"""How long each analysis takes with its default settings on the packaged ResNet-110 and its digits.

    python benchmarks/analysis_times.py
    python benchmarks/analysis_times.py --only influence,depth --model vgg15

The measure is processor time (user and system time of this process), which other work on the
machine hardly touches; the time of the clock stands beside it. With one thread, processor time is
what the analysis takes on one core of a machine that does nothing else. Each analysis opens its
network anew, and is timed from there to its table.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import torch
from machine import describe

import ensembles
from ensembles.checkpoints import open_subject

LIMIT = 180
"""Seconds that each analysis is to stay below."""


class Taken(NamedTuple):
    """What an analysis took.

    Attributes:
        processor: User and system time in seconds.
        clock: Time of the clock in seconds.
        rows: Rows of its table.
    """

    processor: float
    clock: float
    rows: int


def timed(name: str, model: str, **run: Any) -> Taken:
    """Run an analysis with its default settings.

    Args:
        name: Its name.
        model: A packaged network.
        run: A store, if results are to be kept.
    """
    subject = open_subject(model, check=False)
    clock, processor = time.perf_counter(), time.process_time()
    frame = ensembles.analyze(subject.net, subject.data, name, progress=False, model=model, **run)
    return Taken(time.process_time() - processor, time.perf_counter() - clock, len(frame))


def main() -> None:
    """Print a line for each analysis."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="resnet110", help="a packaged network")
    options.add_argument("--only", help="names of analyses, separated by commas")
    options.add_argument("--store", help="keep the results in this store")
    given = options.parse_args()
    torch.set_num_threads(1)
    names = [name for name, _ in ensembles.list_analyses()]
    wanted = given.only.split(",") if given.only else names
    print(f"{describe()}; {given.model}, processor seconds (clock), rows")
    for name in wanted:
        taken = timed(name, given.model, **({"store": given.store} if given.store else {}))
        much = f", more than {LIMIT}" if taken.processor > LIMIT else ""
        print(
            f"{name:14} {taken.processor:8.1f} ({taken.clock:.1f}), {taken.rows}{much}", flush=True
        )


if __name__ == "__main__":
    main()
