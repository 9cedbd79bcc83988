"""Peak memory of a sweep over a ResNet-110: it depends on the batch, not on the lesions.

    python benchmarks/lesion_memory.py

Each case runs in a process of its own, whose peak resident memory is read at the end. 10,000 images
of 3x32x32 are held in memory; the sweep runs over the first batch of them, after which nothing more
is allocated. 5,000 lesions are random deletions of 1 to 20 blocks.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import torch
from machine import describe, parser, seconds


def case(model: str, lesions: int, batch: int | None) -> None:
    """Run one sweep over one batch, and print what it took."""
    import ensembles
    from ensembles.engine import default_batch_size, evaluate
    from ensembles.lesions import intact, random_deletions, single_deletions

    images = torch.zeros(10_000, 3, 32, 32, dtype=torch.uint8).random_(0, 256)
    net = ensembles.decompose(ensembles.create_model(model).eval(), images[:2].float() / 255)
    if lesions <= len(net):
        sweep = [intact(), *single_deletions(len(net))[:lesions]]
    else:
        sweep = [intact(), *random_deletions(len(net), range(1, 21), lesions // 20, seed=0)]
    size = batch or default_batch_size(net, torch.device("cpu"))
    before = peak()
    part = [(images[:size].float() / 255, torch.zeros(size, dtype=torch.long))]
    took = seconds(lambda: evaluate(net, part, sweep, device="cpu", batch_size=size))
    found = {"lesions": len(sweep) - 1, "batch": size, "before": before, "peak": peak()}
    print(json.dumps(found | {"seconds": took}))


def peak() -> float:
    """The peak resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--model", default="resnet110")
    options.add_argument("--case", nargs=2, type=int, help="lesions and batch (0: the default)")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.case:
        case(chosen.model, chosen.case[0], chosen.case[1] or None)
        return
    print(describe())
    for lesions, batch in ((54, 0), (54, 32), (5000, 32)):
        command = [sys.executable, __file__, "--model", chosen.model, "--threads",
                   str(chosen.threads), "--case", str(lesions), str(batch)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        print(
            f"{found['lesions']:5} lesions, batch {found['batch']:3}: peak {found['peak']:.2f} GB "
            f"({found['before']:.2f} GB before the sweep), {found['seconds']:.0f} s a batch"
        )


if __name__ == "__main__":
    main()
