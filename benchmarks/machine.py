"""What every benchmark says of itself: the machine, and medians with their spread."""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch


def describe() -> str:
    """The machine and the versions in a line."""
    names = (
        [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        if Path("/proc/cpuinfo").exists()
        else [platform.processor()]
    )
    return (
        f"{names[0]}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"python {platform.python_version()}"
    )


def seconds(work: Callable[[], object]) -> float:
    """The wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(times: Sequence[float]) -> str:
    """Median, and the smallest and largest value."""
    return f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"


def ratios(slow: Sequence[float], fast: Sequence[float]) -> str:
    """The ratio of the medians, and the range of the ratios of single rounds."""
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    whole = statistics.median(slow) / statistics.median(fast)
    return f"{whole:.1f} ({min(each):.1f} to {max(each):.1f})"


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--rounds", type=int, default=3, help="timed rounds of each contestant")
    made.add_argument("--threads", type=int, default=2, help="CPU threads")
    return made
