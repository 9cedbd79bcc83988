"""A small language model with the weights of several moments of its training.

    python benchmarks/cancellation_training.py .work/cancellation/training

`gpt12` (12 blocks, 128 wide) is trained on docstrings; the weights before the first step and after
some epochs are kept as `gpt12-STEPS.pt`, for `benchmarks/cancellation.py`. Interrupted, the same
command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import ensembles
from ensembles.data.texts import open_text
from ensembles.training import train

WINDOW, WINDOWS, BATCH = 128, 1024, 8
EPOCHS = {"gpt12": 12}
KEPT = (1, 2, 4, 8, 12)
NAMES = tuple(EPOCHS)


def kept(folder: Path, name: str) -> dict[int, Path]:
    """The files of weights, by the number of steps."""
    found = {int(one.stem.rsplit("-", 1)[1]): one for one in folder.glob(f"{name}-*.pt")}
    return dict(sorted(found.items()))


def main() -> None:
    """Train, and keep weights on the way."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    data = open_text("docstrings", "train", window=WINDOW).limited(WINDOWS)
    test = open_text("docstrings", "test", window=WINDOW).limited(32)
    for name in NAMES:
        out = folder / name

        def report(line: str, name: str = name, out: Path = out) -> None:
            print(name, line, flush=True)
            state = out / "last.ckpt"
            if not state.exists():
                return
            found = torch.load(state, map_location="cpu", weights_only=False)
            epoch, step = int(found["epoch"]) + 1, int(found["global_step"])
            target = folder / f"{name}-{step}.pt"
            if epoch in KEPT and not target.exists():
                inner = "model."
                values = {
                    key.removeprefix(inner): value
                    for key, value in found["state_dict"].items()
                    if key.startswith(inner)
                }
                torch.save(values, target)

        result = train(
            name, (data, test),
            out=out, epochs=EPOCHS[name], seed=0, init=True, resume=True, device="cpu",
            report=report,
        )  # fmt: skip
        report("done")
        first = folder / f"{name}-0.pt"
        if not first.exists() and result.initial is not None:
            from safetensors.torch import load_file

            torch.save(load_file(result.initial), first)
        print(name, result.measured, flush=True)
        model = ensembles.create_model(name)
        for path in kept(folder, name).values():
            model.load_state_dict(torch.load(path))


if __name__ == "__main__":
    main()
