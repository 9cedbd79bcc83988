"""Every single deletion of a 27-block ResNet: the plain loop against the shared-prefix engine.

    python benchmarks/lesion_speed.py
    python benchmarks/lesion_speed.py --keep-memory
    python benchmarks/lesion_speed.py --busy 1               # beside another program

The network is trained on the digits first, in 20 epochs. The plain loop is what one would write by
hand: copy the model, replace one block by its shortcut, run it over the images, count. Contestants
take turns within each round, on the same weights and images, each in a process of its own as a
user would run it: glibc gives large freed tensors back to the system, and paying for fresh pages at
every layer costs the plain loop about half of its time, unless earlier work of the process (a
training, say) has taught the allocator to keep them. With
--keep-memory every contestant runs with an allocator that keeps them.

Direct convolution can be no faster than the product of matrices: what the engine reaches is told
as a share of it too, of large square matrices in the same process and precision, before and after
the sweep. Operations are those of convolutions and linear layers, counted on some of the images.
With one thread the share is one of the processor's time, which other programs hardly change.

"divided" is the engine with each operation divided among the threads, instead of the images: beside
--busy programs every operation waits for the thread that was put aside.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from machine import describe, parser, ratios, seconds, spread
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import ensembles
from ensembles.decomposition import Decomposition
from ensembles.engine import evaluate
from ensembles.engine.shared import SharedPrefixes
from ensembles.lesions import intact, single_deletions
from ensembles.training import train


class ShortcutOnly(nn.Module):
    """A post-activation residual block without its branch."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.shortcut = block.shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x))


CONTESTANTS = {
    "plain": "plain loop",
    "fp32": "shared, fp32",
    "bf16": "shared, bf16",
    "fp32 divided": "divided, fp32",
    "bf16 divided": "divided, bf16",
}


def trained(folder: Path, epochs: int) -> nn.Module:
    """A ResNet-56 whose decisions have margins, so that counts mean something."""
    if not epochs:
        return ensembles.create_model("resnet56")
    result = train("resnet56", "digits", recipe="digits", epochs=epochs, out=folder, device="cpu")
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


def product_rate(dtype: torch.dtype) -> float:
    """Operations a second of products of square matrices."""
    one = torch.randn(2048, 2048).to(dtype)
    one @ one
    times = []
    for _ in range(5):
        start = clock()
        one @ one
        times.append(clock() - start)
    return 2 * 2048**3 / statistics.median(times)


def clock() -> float:
    """Seconds: of the processor for one thread, else on the clock."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def operations(net: Decomposition, images: Tensor, labels: Tensor) -> int:
    """Operations of the whole sweep."""
    some, threads = 8, torch.get_num_threads()
    torch.set_num_threads(1)  # what counts them sees its own thread alone
    with FlopCounterMode(display=False) as counter:
        evaluate(net, [(images[:some], labels[:some])], [intact(), *single_deletions(len(net))],
                 device="cpu")  # fmt: skip
    torch.set_num_threads(threads)
    return counter.get_total_flops() * len(images) // some


def run_one(contestant: str, folder: Path, batch: int) -> None:
    """Time one contestant in this process, and print seconds and counts."""
    model = ensembles.create_model("resnet56")
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    images, labels = torch.load(folder / "images.pt", weights_only=True)
    model.eval()
    if contestant == "plain":
        counts: list[int] = []
        took = seconds(lambda: counts.extend(plain_loop(model, images, labels, batch)))
        print(json.dumps({"seconds": took, "counts": counts}))
        return
    precision, _, divided = contestant.partition(" ")
    if divided:
        SharedPrefixes.side_by_side = False
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    rates = [product_rate(dtype)]
    start, begun = time.perf_counter(), clock()
    net = ensembles.decompose(model, images[:16])
    sweep = [intact(), *single_deletions(len(net))]
    outcomes = evaluate(net, [(images, labels)], sweep, precision=precision, device="cpu")
    counts = [outcome.correct for outcome in outcomes]
    took, used = time.perf_counter() - start, clock() - begun
    rates.append(product_rate(dtype))
    print(json.dumps({
        "seconds": took,
        "counts": counts,
        "rate": operations(net, images, labels) / used,
        "product": statistics.mean(rates),
    }))  # fmt: skip


@contextmanager
def busy(programs: int) -> Iterator[None]:
    """Keep as many cores busy as there are programs."""
    code = "while True: pass"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(programs)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


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
    options.add_argument("--images", type=int, default=1000)
    options.add_argument(
        "--epochs", type=int, default=20, help="of training before; 0 for random weights"
    )
    options.add_argument("--busy", type=int, default=0, help="busy programs beside each contestant")
    options.add_argument("--contestants", default="plain,fp32,bf16", help=", ".join(CONTESTANTS))
    options.add_argument("--contestant", nargs=2, help="(used by the benchmark itself)")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.contestant:
        run_one(chosen.contestant[0], Path(chosen.contestant[1]), chosen.batch)
        return
    data = ensembles.dataset("digits", split="train")
    images, labels = next(data.batches(chosen.images))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen.contestants.split(",")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(trained(folder / "training", chosen.epochs).state_dict(), folder / "weights.pt")
        torch.save([images, labels], folder / "images.pt")
        with busy(chosen.busy):
            for _, contestant in itertools.product(range(chosen.rounds), found):
                found[contestant].append(start(contestant, folder, chosen))
    print(
        describe() + (", memory kept" if chosen.keep_memory else "")
        + (f", beside {chosen.busy} busy programs" if chosen.busy else "")
    )  # fmt: skip
    counts = {name: runs[-1]["counts"] for name, runs in found.items()}
    print(
        f"ResNet-56, {len(images)} images, intact and {len(counts['plain']) - 1} single deletions"
    )
    plain = [run["seconds"] for run in found["plain"]]
    for name, runs in found.items():
        times = [run["seconds"] for run in runs]
        line = f"{CONTESTANTS[name]:16} {spread(times)}"
        if name != "plain":
            off = deviation(counts[name], counts["plain"], len(images))
            share = statistics.median(run["rate"] / run["product"] for run in runs)
            product = statistics.median(run["product"] for run in runs) / 1e9
            line += (
                f", {ratios(plain, times)} times as fast, {100 * share:.0f} % of the product of "
                f"matrices ({product:.0f} GFLOP/s); largest difference of a count "
                f"{100 * off:.2f} % of the images"
            )
        print(line)


if __name__ == "__main__":
    main()
