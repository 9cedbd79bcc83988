"""An analysis: how far apart the rows of a batch are after each block."""

from __future__ import annotations

from dataclasses import dataclass

from ensembles.analyses import Analysis, Options, option


@dataclass(frozen=True)
class SpreadOptions(Options):
    """How the spread is measured."""

    relative: bool = option("Divide by the norm of the mean row.", False)
    power: float = option("Power of the norm.", 2.0)


class Spread(Analysis):
    """One row a block: mean norm of what leaves it, less its mean over all rows."""

    name = "spread"
    summary = "how far apart rows are after each block"
    source = "nobody"
    options = SpreadOptions
    label = ("block", "name")

    def measure(self, net, data, options, run):
        import pandas as pd
        import torch

        from ensembles import walk

        batches = [batch.inputs for batch in run.task.batches(data, run.batch_size or 64)]
        rows = []
        with torch.inference_mode():
            for block, _, output in walk(net, torch.cat(batches)):
                flat = output.flatten(1)
                mean = flat.mean(0)
                spread = (flat - mean).norm(options.power, dim=1).mean()
                scale = mean.norm(options.power) if options.relative else 1.0
                rows.append((block.index, block.name, float(spread / scale)))
        frame = pd.DataFrame(rows, columns=["block", "name", "spread"])
        frame.attrs = {"widest": int(frame["spread"].idxmax()) + 1}
        return frame

    def draw(self, frames):
        from matplotlib.figure import Figure

        figure = Figure()
        ax = figure.subplots()
        for frame in frames:
            ax.plot(frame["block"], frame["spread"], label=frame.attrs["model"])
        ax.set(xlabel="Block", ylabel="Spread")
        return figure

    def notes(self, frame):
        return [f"rows are furthest apart after block {frame.attrs['widest']}"]


SPREAD = Spread()
