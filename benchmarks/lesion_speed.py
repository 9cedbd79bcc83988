"""Every single deletion of a 27-block ResNet: the plain loop against the shared-prefix engine.

    python benchmarks/lesion_speed.py

The plain loop is what one would write by hand: copy the model, replace one block by its shortcut,
run it over the images, count. Contestants take turns within each round, on the same images, so
that the ratio survives a busy machine.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from machine import describe, parser, ratios, seconds, spread
from torch import Tensor, nn

import ensembles
from ensembles.evaluation import evaluate
from ensembles.lesions import intact, single_deletions


class ShortcutOnly(nn.Module):
    """A post-activation residual block without its branch."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.shortcut = block.shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x))


def briefly_trained(images: Tensor, labels: Tensor, epochs: int = 4) -> nn.Module:
    """A ResNet-56 whose decisions have margins, so that counts mean something."""
    torch.manual_seed(0)
    model = ensembles.create_model("resnet56")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for part in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(images[part]), labels[part]).backward()
            optimiser.step()
    return model.eval()


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


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--batch", type=int, default=128, help="batch of the plain loop")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    train = ensembles.dataset("digits", split="train")
    images, labels = next(train.batches(len(train)))
    model = briefly_trained(images, labels)
    images, labels = images[:1000], labels[:1000]
    net = ensembles.decompose(model, images[:16])
    sweep = [intact(), *single_deletions(len(net))]
    batches = [(images, labels)]

    def ours(precision: str) -> list[int]:
        outcomes = evaluate(net, batches, sweep, precision=precision, device="cpu")
        return [outcome.correct for outcome in outcomes]

    times: dict[str, list[float]] = {"plain": [], "fp32": [], "bf16": []}
    counts: dict[str, list[int]] = {}
    for _ in range(chosen.rounds):
        times["plain"].append(
            seconds(lambda: counts.update(plain=plain_loop(model, images, labels, chosen.batch)))
        )
        for precision in ("fp32", "bf16"):
            times[precision].append(
                seconds(lambda p=precision: counts.update({p: ours(p)}))  # type: ignore[misc]
            )
    print(describe())
    print(f"ResNet-56, {len(images)} images, intact and {len(net)} single deletions")
    print(f"plain loop       {spread(times['plain'])}")
    for precision in ("fp32", "bf16"):
        off = deviation(counts[precision], counts["plain"], len(images))
        print(
            f"shared, {precision}     {spread(times[precision])}, "
            f"{ratios(times['plain'], times[precision])} times as fast; "
            f"largest difference of a count {100 * off:.2f} % of the images"
        )


if __name__ == "__main__":
    main()
