"""What it costs to take a network apart: processor time over that of a forward pass of the example.

    python benchmarks/decomposition_cost.py
    python benchmarks/decomposition_cost.py --against FOLDER    # beside another checkout

Each round is a process of its own, by turns one of each checkout, so that a busy machine slows
both; of its few decompositions the fastest counts. Ratios are those of the numbers of forward
passes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine
import torch
from torch import Tensor, nn

HERE = Path(__file__).parent.parent
EXAMPLES = {"resnet110": (16, 32), "resnet50": (2, 64), "vit_b_16": (2, 224)}
"""Rows of the example, and their size in pixels."""


def _network(name: str) -> tuple[nn.Module, Tensor]:
    from ensembles.models import create_model

    rows, size = EXAMPLES[name]
    model = create_model(name).eval()
    return model, torch.randn(rows, 3, size, size, generator=torch.Generator().manual_seed(0))


def _processor(work: object, times: int) -> float:
    """The least processor time of some calls."""
    found = []
    for _ in range(times):
        started = time.process_time()
        work()  # type: ignore[operator]
        found.append(time.process_time() - started)
    return min(found)


def measured(threads: int) -> dict[str, tuple[float, float]]:
    """Seconds of a forward pass and of a decomposition of each network, in this process."""
    from ensembles.decomposition import decompose

    torch.set_num_threads(threads)
    found = {}
    for name in EXAMPLES:
        model, images = _network(name)
        with torch.no_grad():
            forward = _processor(lambda m=model, x=images: m(x), 2)
        found[name] = forward, _processor(lambda m=model, x=images: decompose(m, x), 2)
    return found


def _elsewhere(checkout: Path, threads: int) -> dict[str, tuple[float, float]]:
    """The same in a process of its own, with the code of a checkout."""
    code = (
        f"import json, sys; sys.path.insert(0, {str(HERE / 'benchmarks')!r}); "
        f"import decomposition_cost as c; print(json.dumps(c.measured({threads})))"
    )
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, and print."""
    parser = machine.parser(__doc__.partition("\n")[0])
    parser.add_argument("--against", type=Path, help="a checkout of another version")
    parser.set_defaults(threads=1)
    given = parser.parse_args()
    places = [HERE, *([given.against.resolve()] if given.against else [])]
    rounds = [[_elsewhere(place, given.threads) for place in places] for _ in range(given.rounds)]
    print(machine.describe())
    for name in EXAMPLES:
        passes = [[found[name][1] / found[name][0] for found in one] for one in rounds]
        ours = [one[0] for one in passes]
        seconds = statistics.median(one[0][name][1] for one in rounds)
        line = f"{name}: {statistics.median(ours):.1f} forward passes ({seconds:.2f} s)"
        if given.against:
            each = [one / other for one, other in passes]
            spread = f"{min(each):.2f} to {max(each):.2f}"
            line += f"; {statistics.median(each):.2f} times those of the other ({spread})"
        print(line)


if __name__ == "__main__":
    main()
