"""The published lesions of a 54-block network, replayed: what the tree of prefixes saves.

    python benchmarks/lesion_replay.py PLAN.csv

PLAN.csv has the columns lesion and blocks, such as the 4,647 lesions that Veit, Wilber and
Belongie published for a pre-activation ResNet-110. Counted for the whole plan: the block
evaluations that the tree of shared prefixes saves. Timed: the whole plan along the tree, and the
plain loop (each lesion run whole, unfolded) on a sample, both on the same images; the ratio is that
of the times for one lesion. Neither depends on the values of the weights.
"""

from __future__ import annotations

import random

import torch
from machine import describe, parser, seconds

import ensembles
from ensembles.engine import evaluate
from ensembles.engine.prefix_tree import flat_keys, plan_routes
from ensembles.lesions import Lesion, read_plan


def evaluations(plan: list[Lesion], n: int) -> tuple[int, int]:
    """Block evaluations of the plain loop and of the tree."""
    routes = plan_routes([flat_keys(one.program(n), frozenset(), frozenset()) for one in plan])
    plain = sum(len(route.keys) for route in routes)
    return plain, sum(len(route.keys) - route.shared for route in routes)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("plan", help="table with the columns lesion and blocks")
    options.add_argument("--model", default="preresnet110")
    options.add_argument("--images", type=int, default=32)
    options.add_argument("--sample", type=int, default=60, help="lesions of the plain loop")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    model = ensembles.create_model(chosen.model).eval()
    data = ensembles.dataset("digits", limit=chosen.images)
    images, labels = next(data.batches(len(data)))
    net = ensembles.decompose(model, images[:16])
    plan = read_plan(chosen.plan)
    plain, tree = evaluations(plan, len(net))
    sample = random.Random(0).sample(plan, chosen.sample)
    batches = [(images, labels)]
    slow, fast = [], []
    for _ in range(chosen.rounds):
        slow.append(
            seconds(lambda: evaluate(net, batches, sample, engine="direct", device="cpu"))
            / len(sample)
        )
        fast.append(seconds(lambda: evaluate(net, batches, plan, device="cpu")) / len(plan))
    print(describe())
    print(f"{len(plan)} lesions of {chosen.model} ({len(net)} blocks), {len(images)} images")
    print(f"block evaluations: {plain:,} one by one, {tree:,} along the tree", end="")
    print(f" ({100 * (1 - tree / plain):.1f} % saved)")
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    print(
        f"time for a lesion: {1000 * min(slow):.1f} ms plain, {1000 * min(fast):.1f} ms along the "
        f"tree; ratio {min(each):.1f} to {max(each):.1f} over {chosen.rounds} rounds"
    )


if __name__ == "__main__":
    main()
