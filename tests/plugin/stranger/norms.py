"""An analysis: the mean norm of what leaves each block."""

from __future__ import annotations

from dataclasses import dataclass

from ensembles.analyses import Analysis, Options, option


@dataclass(frozen=True)
class NormOptions(Options):
    power: float = option("Power of the norm.", 2.0)


class Norms(Analysis):
    """One row a block."""

    name = "norms"
    summary = "mean norm of what leaves each block"
    source = "nobody"
    options = NormOptions
    label = ("block", "name")

    def measure(self, net, data, options, run):
        import pandas as pd
        import torch

        from ensembles import walk

        totals, rows = [0.0] * len(net), 0
        with torch.inference_mode():
            for batch in run.task.batches(data, run.batch_size or 64):
                rows += len(batch.targets)
                for block, _, output in walk(net, batch.inputs):
                    norms = output.flatten(1).norm(options.power, dim=1)
                    totals[block.index - 1] += float(norms.sum())
        names = [(block.index, block.name) for block in net]
        frame = pd.DataFrame(names, columns=["block", "name"])
        return frame.assign(norm=[total / rows for total in totals])

    def draw(self, frames):
        from matplotlib.figure import Figure

        figure = Figure()
        ax = figure.subplots()
        for frame in frames:
            ax.plot(frame["block"], frame["norm"], label=frame.attrs["model"])
        ax.set(xlabel="Block", ylabel="Norm")
        return figure


NORMS = Norms()
