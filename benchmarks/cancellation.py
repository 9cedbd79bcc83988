"""How far the lengths of paths cancel each other, in trained networks and in controls.

    python benchmarks/cancellation_training.py .work/cancellation/training
    python benchmarks/cancellation.py measure .work/cancellation
    python benchmarks/cancellation.py write .work/cancellation

Cancellation is the sum over lengths of the norms of the gradient that all paths of a length carry,
over the norm of their sum. It is measured in double precision at the input and before each block;
of language models also at the first token of the window and at the others apart. `measure` takes
case after case, each into a file of its own, and goes on where it was interrupted; `write` makes
the tables and figures of docs/cancellation.md from these files. Needs
`pip install 'residual-ensembles[lm]'`, the folder of assets in ENSEMBLES_ASSETS for CIFAR-10, and
hours of one core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from cancellation_networks import Case, cases, opened
from torch import Tensor

from ensembles.decomposition import Decomposition
from ensembles.unravelling.additive import additive, require_additive
from ensembles.unravelling.linearization import Linearizer
from ensembles.unravelling.places import Place
from ensembles.unravelling.spectra import backward, head_cotangent
from ensembles.unravelling.sum_checks import reference_gradients, total

PARTS = ("all", "first", "rest")


def parts_of(value: Tensor, tokens: bool) -> Iterator[tuple[str, Tensor]]:
    """The whole of some streams (..., tokens, width), and its first token and the others apart."""
    yield "all", value
    if tokens:
        yield "first", value[..., :1, :]
        yield "rest", value[..., 1:, :]


def norms_of(value: Tensor, kept: int) -> Tensor:
    """Norms over all but the first so many dimensions."""
    return torch.linalg.vector_norm(value.flatten(kept), dim=-1)


def measured(net: Decomposition, rows: Tensor, right: Tensor, tokens: bool) -> dict[str, Any]:
    """Cancellation of each row by place and part, norms by length at the input, and the error."""
    linear = Linearizer(net).at(rows)
    cotangent, _ = head_cotangent(linear.logits, right)
    ratios: dict[str, list[float]] = {}
    lengths: dict[str, list[list[float]]] = {}
    error = 0.0
    (expected,) = reference_gradients(net, rows, cotangent, [Place("input")]).values()
    with torch.no_grad():
        for place, state in backward(linear, cotangent):
            if place.is_output:
                continue
            data, exponent = state.data[: state.count], state.exponent[: state.count]
            whole = total(data, exponent)
            scale = torch.exp2(exponent)
            summed = dict(parts_of(whole, tokens))
            for part, value in parts_of(data, tokens):
                sizes, size = norms_of(value, 2) * scale, norms_of(summed[part], 1)
                if bool((size == 0).any()):  # no path arrives there
                    continue
                ratios[f"{place.block} {part}"] = (sizes.sum(0) / size).tolist()
                if place == Place("input"):
                    lengths[part] = (sizes / size).T.tolist()
            if place == Place("input"):
                error = float((norms_of(whole - expected, 1) / norms_of(expected, 1)).max())
    return {"ratios": ratios, "lengths": lengths, "error": error}


def local(net: Decomposition, rows: Tensor, right: Tensor) -> dict[str, list[list[float]]]:
    """What branch and shortcut of each block make of the whole gradient, row by row.

    Returns:
        By block, from the first: "cosine" between the two, "size", the branch's norm over the
        shortcut's, and "ratio", the sum of both norms over the norm of their sum.
    """
    linear = Linearizer(net).at(rows)
    cotangent, _ = head_cotangent(linear.logits, right)
    found: dict[str, list[list[float]]] = {"cosine": [], "size": [], "ratio": []}
    with torch.no_grad():
        value = linear.head.pull(cotangent)
        for block in reversed(linear.blocks):
            value = value if block.post is None else block.post.pull(value)
            around = value if block.shortcut is None else block.shortcut.pull(value)
            if block.branch is not None:
                branch = block.branch.pull(value)
                sizes = norms_of(branch, 1), norms_of(around, 1)
                product = (branch * around).flatten(1).sum(1)
                found["cosine"].append((product / sizes[0] / sizes[1]).tolist())
                found["size"].append((sizes[0] / sizes[1]).tolist())
                whole = norms_of(branch + around, 1)
                found["ratio"].append(((sizes[0] + sizes[1]) / whole).tolist())
                around = branch + around
            value = around if block.pre is None else block.pre.pull(around)
            value = value if block.before is None else block.before.pull(value)
    return {name: values[::-1] for name, values in found.items()}


def measure(case: Case, training: Path) -> dict[str, Any]:
    """All rows of a case."""
    start = time.process_time()
    net, batches = opened(case, training)
    tokens = case.group == "language"
    if case.linearization == "additive":
        net = additive(net)
        require_additive(net, batches[0][0])
    found: dict[str, Any] = {"ratios": {}, "lengths": {}, "error": 0.0}
    beside: dict[str, list[list[float]]] = {}
    for rows, right in batches:
        for name, by_block in local(net, rows, right).items():
            kept = beside.setdefault(name, [[] for _ in by_block])
            for values, more in zip(kept, by_block, strict=True):
                values.extend(more)
        one = measured(net, rows, right, tokens)
        for kind in ("ratios", "lengths"):
            for key, values in one[kind].items():
                found[kind].setdefault(key, []).extend(values)
        found["error"] = max(found["error"], one["error"])
    return {
        "case": asdict(case), **found, "local": beside,
        "names": net.names, "choices": sum(block.has_shortcut for block in net),
        "seconds": time.process_time() - start,
    }  # fmt: skip


def main() -> None:
    """Measure, or write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["measure", "write"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="cases whose key holds this")
    chosen = parser.parse_args()
    if chosen.what == "write":
        from cancellation_figures import write

        write(chosen.folder)
        return
    torch.set_num_threads(1)
    training = chosen.folder / "training"
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for case in cases(training):
        target = chosen.folder / f"{case.key}.json"
        if target.exists() or chosen.only not in case.key:
            continue
        found = measure(case, training)
        target.write_text(json.dumps(found))
        middle = torch.tensor(found["ratios"]["0 all"]).median()
        print(
            f"{case.key}: {middle:.4g}, error {found['error']:.1g}, {found['seconds']:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
