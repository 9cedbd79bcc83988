"""What the logits of all paths cost through parts that have no fast form, both ways.

    python benchmarks/tangents.py
    python benchmarks/tangents.py --model timm:deit_tiny_patch16_224

Tangents pass such a part by the transpose of its derivative backward, which runs the part once for
all path lengths, or by forward mode, which runs it anew for every few. In each round a forward pass
and the analysis in both ways take turns, and ratios are of one round. With one thread times are
processor seconds, which other work on the machine hardly touches. Weights are random: what is
computed is the same.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import torch
from machine import describe, parser, ratios
from paths_speed import timed

from ensembles.decomposition import decompose
from ensembles.models import create_model
from ensembles.unravelling.image_rows import image_rows
from ensembles.unravelling.maps import FunctionMap
from ensembles.unravelling.measurement import measure_logits


@contextmanager
def forward_mode() -> Iterator[None]:
    """Let no part have a transpose, so that tangents pass by forward mode."""
    with patch.object(FunctionMap, "_jvp", side_effect=RuntimeError("forward mode is asked for")):
        yield


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__ or "")
    options.set_defaults(threads=1)
    options.add_argument("--model", default="vit_b_16", help="of torchvision or timm")
    options.add_argument("--size", type=int, default=224, help="pixels of a side")
    options.add_argument("--rows", type=int, default=4, help="images")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    model = create_model(given.model).eval()
    images = torch.randn(given.rows, 3, given.size, given.size)
    net = image_rows(decompose(model, images[:2]))
    batches = [(images, torch.zeros(given.rows, dtype=torch.long))]
    errors: dict[str, float] = {}

    def analysis(name: str) -> None:
        errors[name] = measure_logits(net, batches)[1]

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def old() -> None:
        with forward_mode():
            analysis("forward mode")

    works: dict[str, Callable[[], None]] = {
        "forward pass": forward,
        "forward mode": old,
        "transpose": partial(analysis, "transpose"),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    forward()
    for _ in range(given.rounds):
        for name, work in works.items():
            times[name].append(timed(work))
    print(describe())
    print(f"{given.model}, {len(net)} blocks, {given.rows} images of {given.size} pixels")
    one = times.pop("forward pass")
    print(f"forward pass: {statistics.median(one):.2f} s")
    for name, found in times.items():
        print(
            f"logits of all paths by {name}: {statistics.median(found):.1f} s = "
            f"{ratios(found, one)} forward passes; the sum differs by {errors[name]:.0e}"
        )
    print(f"forward mode over transpose: {ratios(times['forward mode'], times['transpose'])}")


if __name__ == "__main__":
    main()
