"""SmolLM2 by this program and by a plain loop over the model of transformers: counts and time.

    python benchmarks/language_models.py counts --windows 4 --tokens 128
    python benchmarks/language_models.py time --windows 16 --tokens 256

Needs `pip install 'residual-ensembles[lm]'`. `counts` deletes each attention and each MLP by a hook
on the model of transformers, window by window, and holds right answers and losses against those of
`ensembles.lesion`. `time` runs both, the plain loop for the first and last few lesions alone where
`--plain K` says so (each of its lesions costs the same), and tells seconds of the processor and of
the clock, and the peak of memory of each, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ensembles
from ensembles.checkpoints.text_subject import tokens_for
from ensembles.data.texts import open_text

MODEL = "smollm2-135m"
TEXT = Path(__file__).parent.parent / "docs" / "decomposition.md"


def opened(windows: int, tokens: int, text: str) -> tuple[nn.Module, Any]:
    model, card = ensembles.load(MODEL)
    data = open_text(text, window=tokens, tokenizer=tokens_for(card), limit=windows)
    assert len(data) == windows, f"{text} has {len(data)} windows of {tokens} tokens"
    return model, data


def parts(model: Any) -> list[nn.Module]:
    return [part for layer in model.model.layers for part in (layer.self_attn, layer.mlp)]


def nothing(module: nn.Module, given: Any, out: Any) -> Any:
    return (out[0] * 0, *out[1:]) if isinstance(out, tuple) else out * 0


@torch.no_grad()
def plain(model: Any, ids: Tensor, deleted: list[int]) -> list[tuple[int, float]]:
    """Right answers and mean loss with each part deleted, 0 for none, as anybody would write it."""
    found, all_parts = [], parts(model)
    for number in deleted:
        handle = all_parts[number - 1].register_forward_hook(nothing) if number else None
        correct, loss = 0, 0.0
        for window in ids:
            logits = model(window[None]).logits[0, :-1]
            right = window[1:]
            correct += int((logits.argmax(-1) == right).sum())
            loss += F.cross_entropy(logits, right, reduction="sum").item()
        if handle is not None:
            handle.remove()
        found.append((correct, loss / ids[:, 1:].numel()))
    return found


def counts(options: argparse.Namespace) -> None:
    model, data = opened(options.windows, options.tokens, options.text)
    net = ensembles.decompose(model, data.windows[:2])
    frame = ensembles.lesion(net, data, metrics=("top1", "loss"))
    print(f"{'deleted':34} {'plain':>6} {'ours':>6} {'loss':>9} {'ours':>9}")
    worst_count, worst_loss = 0, 0.0
    for number, (name, (_, row)) in enumerate(
        zip(["none", *net.names], frame.iterrows(), strict=True)
    ):
        ((correct, loss),) = plain(model, data.windows, [number])
        print(
            f"{name:34} {correct:6} {row['correct']:6} {loss:9.5f} {row['loss']:9.5f}", flush=True
        )
        worst_count = max(worst_count, abs(correct - row["correct"]))
        worst_loss = max(worst_loss, abs(loss - row["loss"]))
    total = data.windows[:, 1:].numel()
    print(f"greatest difference: {worst_count} of {total}, loss {worst_loss:.2g}")


def timed(options: argparse.Namespace) -> None:
    if options.side is None:
        found = {}
        for side in ("plain", "ours"):
            run = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--side", side],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            found[side] = json.loads(run.stdout.splitlines()[-1])
            print(side, found[side], flush=True)
        for clock in ("processor_s", "wall_s"):
            print(f"{clock}: {found['plain'][clock] / found['ours'][clock]:.2f} times as fast")
        return
    model, data = opened(options.windows, options.tokens, options.text)
    blocks = len(parts(model))
    resting = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.monotonic()
    net = ensembles.decompose(model, data.windows[:2]) if options.side == "ours" else None
    apart = time.process_time() - cpu
    cpu, wall = time.process_time(), time.monotonic()
    scale = 1.0
    if net is not None:
        ensembles.lesion(net, data, metrics=("top1", "loss"), device="cpu")
    else:
        chosen = [0, *range(1, 1 + blocks)]
        if options.plain:
            chosen = chosen[:: max(1, len(chosen) // options.plain)]
        plain(model, data.windows, chosen)
        scale = (1 + blocks) / len(chosen)
    about = {
        "decompose_processor_s": round(apart, 1),
        "processor_s": round(scale * (time.process_time() - cpu), 1),
        "wall_s": round(scale * (time.monotonic() - wall), 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        "peak_mb_of_loading": round(resting / 1000),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(about))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["counts", "time"])
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--text", default=str(TEXT))
    parser.add_argument("--plain", type=int, default=0, help="lesions of the plain loop that run")
    parser.add_argument("--side", choices=["plain", "ours"])
    options = parser.parse_args()
    (counts if options.what == "counts" else timed)(options)


if __name__ == "__main__":
    main()
