"""How long a command takes to start: `--version`, `--help`, and a sweep up to its first batch.

    python benchmarks/start_up.py --rounds 5

Each is a process of its own, on a warm disk. Beside the time on the clock stands that of the
processor, which a busy machine stretches less. Wanted: 0.3 s for the first two, 3 s for the sweep.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence

import machine

PLAIN = """
import resource, sys, time
start = time.time()
from ensembles.cli import main
try:
    main(sys.argv[1:])
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(time.time() - start, used.ru_utime + used.ru_stime, file=sys.stderr)
"""
SWEEP = """
import os, resource, sys, time
start = time.time()
from ensembles.cli import main
from ensembles.tasks.members.classification import MEMBER
whole = type(MEMBER).batches
def batches(self, *arguments, **options):
    for batch in whole(self, *arguments, **options):
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(time.time() - start, used.ru_utime + used.ru_stime, file=sys.stderr, flush=True)
        os._exit(0)
        yield batch
type(MEMBER).batches = batches
main(sys.argv[1:])
"""
COMMANDS = {
    "ensembles --version": (PLAIN, ["--version"]),
    "ensembles --help": (PLAIN, ["--help"]),
    "ensembles lesion, first batch": (SWEEP, ["lesion", "--limit", "32", "--device", "cpu"]),
}


def timed(code: str, arguments: Sequence[str]) -> tuple[float, float]:
    """Seconds on the clock and of the processor, from the start of Python on."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    clock, processor = done.stderr.split()[-2:]
    return float(clock), float(processor)


def main(arguments: Sequence[str] | None = None) -> dict[str, list[tuple[float, float]]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    print(machine.describe())
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for name, (code, given) in COMMANDS.items():
        timed(code, given)  # warms the disk
        for _ in range(options.rounds):
            found[name].append(timed(code, given))
        clock, processor = zip(*found[name], strict=True)
        print(
            f"{name:32} {machine.spread(clock)} on the clock, "
            f"{statistics.median(processor):.2f} s of the processor",
            flush=True,
        )
    return found


if __name__ == "__main__":
    main()
