"""Every single deletion of a 27-block ResNet: the plain loop against the shared-prefix engine.

    python benchmarks/lesion_speed.py
    python benchmarks/lesion_speed.py --keep-memory

The network is trained on the digits first, in 20 epochs. The plain loop is what one would write by
hand: copy the model, replace one block by its shortcut, run it over the images, count. Contestants
take turns within each round, on the same weights and images, each in a process of its own as a
user would run it: glibc gives large freed tensors back to the system, and paying for fresh pages at
every layer costs the plain loop about half of its time, unless earlier work of the process (a
training, say) has taught the allocator to keep them. With
--keep-memory every contestant runs with an allocator that keeps them.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from machine import describe, parser, ratios, seconds, spread
from torch import Tensor, nn

import ensembles
from ensembles.engine import evaluate
from ensembles.lesions import intact, single_deletions
from ensembles.training import train


class ShortcutOnly(nn.Module):
    """A post-activation residual block without its branch."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.shortcut = block.shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x))


def trained(folder: Path) -> nn.Module:
    """A ResNet-56 whose decisions have margins, so that counts mean something."""
    result = train("resnet56", "digits", recipe="digits", epochs=20, out=folder, device="cpu")
    model, _ = ensembles.load("resnet56", result.weights)
    return model


@torch.no_grad()
def plain_loop(model: nn.Module, images: Tensor, labels: Tensor, batch: int) -> list[int]:
    """Correct counts: intact first, then each block deleted."""
    names = [f"layer{stage}.{i}" for stage in (1, 2, 3) for i in range(9)]
    counts = []
    for name in [None, *names]:
        edited = copy.deepcopy(model).eval()
        if name is not None:
            parent, _, last = name.rpartition(".")
            block = edited.get_submodule(name)
            setattr(edited.get_submodule(parent), last, ShortcutOnly(block))
        correct = 0
        for x, y in zip(images.split(batch), labels.split(batch), strict=True):
            correct += int((edited(x).argmax(1) == y).sum())
        counts.append(correct)
    return counts


def deviation(found: Sequence[int], expected: Sequence[int], images: int) -> float:
    """The largest difference of two lists of counts, as a share of the images."""
    return max(abs(a - b) for a, b in zip(found, expected, strict=True)) / images


def run_one(contestant: str, folder: Path, batch: int) -> None:
    """Time one contestant in this process, and print seconds and counts."""
    model = ensembles.create_model("resnet56")
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    images, labels = torch.load(folder / "images.pt", weights_only=True)
    model.eval()
    counts: list[int] = []
    if contestant == "plain":
        took = seconds(lambda: counts.extend(plain_loop(model, images, labels, batch)))
    else:

        def ours() -> None:
            net = ensembles.decompose(model, images[:16])
            sweep = [intact(), *single_deletions(len(net))]
            outcomes = evaluate(net, [(images, labels)], sweep, precision=contestant, device="cpu")
            counts.extend(outcome.correct for outcome in outcomes)

        took = seconds(ours)
    print(json.dumps({"seconds": took, "counts": counts}))


def start(contestant: str, folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Run one contestant in a process of its own."""
    kept = {"MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_MMAP_THRESHOLD_": "4000000000"}
    command = [sys.executable, __file__, "--threads", str(chosen.threads),
               "--batch", str(chosen.batch), "--contestant", contestant, str(folder)]  # fmt: skip
    environment = os.environ | (kept if chosen.keep_memory else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--batch", type=int, default=128, help="batch of the plain loop")
    options.add_argument("--keep-memory", action="store_true", help="an allocator that keeps pages")
    options.add_argument("--contestant", nargs=2, help="(used by the benchmark itself)")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.contestant:
        run_one(chosen.contestant[0], Path(chosen.contestant[1]), chosen.batch)
        return
    data = ensembles.dataset("digits", split="train")
    images, labels = next(data.batches(1000))
    times: dict[str, list[float]] = {"plain": [], "fp32": [], "bf16": []}
    counts: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(trained(folder / "training").state_dict(), folder / "weights.pt")
        torch.save([images, labels], folder / "images.pt")
        for _ in range(chosen.rounds):
            for contestant, taken in times.items():
                found = start(contestant, folder, chosen)
                taken.append(found["seconds"])
                counts[contestant] = found["counts"]
    print(describe() + (", memory kept" if chosen.keep_memory else ""))
    print(f"ResNet-56, 1000 images, intact and {len(counts['plain']) - 1} single deletions")
    print(f"plain loop       {spread(times['plain'])}")
    for precision in ("fp32", "bf16"):
        off = deviation(counts[precision], counts["plain"], 1000)
        print(
            f"shared, {precision}     {spread(times[precision])}, "
            f"{ratios(times['plain'], times[precision])} times as fast; "
            f"largest difference of a count {100 * off:.2f} % of the images"
        )


if __name__ == "__main__":
    main()
