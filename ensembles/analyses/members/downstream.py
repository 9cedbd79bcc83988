"""Effect on later blocks: what a block's deletion changes of what later blocks add."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensembles.analyses.base import Analysis, HeatMap, Options, Run, option
from ensembles.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from ensembles.decomposition import Block, Decomposition
    from ensembles.tasks.base import Batch

__all__ = ["MEMBER", "Downstream", "DownstreamOptions"]

_FLOOR = 1e-6  # of the norm that a change is compared with
_MOST = 2**28  # values kept for the medians: 1 GiB


@dataclass(frozen=True)
class DownstreamOptions(Options):
    """How changes are taken.

    Attributes:
        vectors: What a norm is taken of.
    """

    vectors: str = option(
        "What norms are taken of: row (all values of an image or a window) or position (the "
        "channels at each position of it).",
        "row", choices=("row", "position"),
    )  # fmt: skip


class Downstream(Analysis[DownstreamOptions]):
    """For each deleted block s and each later block l, how much less or other l adds.

    With d_l what block l adds to the stream (its output less what it gives without its branch),
    the change is |d_l' - d_l| / max(|d_l|, 1e-6), d_l' in the network without block s: 0 where l
    does not notice, 1 where it is as if l had been deleted too. Beside it KL(intact || without s)
    of the output. Source: Csordas, Manning and Potts 2025 (arXiv 2505.13898).
    """

    name = "downstream"
    summary = "How much deleting a block changes what each later block adds."
    source = "Csordas, Manning and Potts 2025 (2505.13898)"
    options = DownstreamOptions
    label = ("deleted", "block")
    shown = ("deleted", "block", "name", "change", "change_se", "median", "maximum", "kl", "kl_se")
    heat_map = HeatMap(
        "deleted", "block", "change",
        ("Deleted block", "Later block", "Relative change of what it adds"),
        diagonal=False, low=0.0,
    )  # fmt: skip

    def check(self, net: Decomposition, options: DownstreamOptions) -> None:
        """Refuse blocks that do not follow each other, or have no shortcut.

        Raises:
            UsageError: Saying why.
        """
        if not all(block.ordered for block in net):
            raise UsageError(
                f"downstream: the blocks of {net.model_name} stand side by side, so that none is "
                "later than another; choose a network whose blocks follow each other"
            )
        if not any(block.has_shortcut for block in net):
            raise UsageError(
                f"downstream: no block of {net.model_name} has a shortcut, so that none adds to a "
                "stream; choose a network with residual blocks"
            )

    def measure(
        self, net: Decomposition, data: Any, options: DownstreamOptions, run: Run
    ) -> pd.DataFrame:
        """One row for each deleted block and itself or a later block; blocks with a shortcut only.

        Returns:
            ``deleted`` and ``deleted_name``, ``block`` and ``name``; ``change``, its mean over
            rows of the data (or positions), ``change_se``, its standard error over rows,
            ``median`` and ``maximum``; ``kl``, the mean over observations of
            KL(intact || without the deleted block) in nats, and ``kl_se``. The change of the
            deleted block itself is 1.

        Raises:
            UsageError: If so many values would have to be kept for the medians that memory is in
                danger.
            EnsemblesError: As the data or the network raise it.
        """
        import pandas as pd  # noqa: PLC0415

        sweep = _Sweep(net, options, run)
        sweep.read(data)
        frame = pd.DataFrame(sweep.rows())
        frame.attrs = {
            "task": run.task.name,
            "observation": run.task.observation,
            "blocks": len(net),
            "transitions": [block.index for block in net if block.is_transition],
            "rows": sweep.seen,
        }
        return frame

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """How far the effect of deletions reaches, in the first and the second half of blocks."""
        later = frame[frame["block"] > frame["deleted"]]
        if later.empty:
            return []
        middle = (frame["block"].min() + frame["block"].max()) / 2
        parts = {
            "first": later[later["deleted"] <= middle], "second": later[later["deleted"] > middle],
        }  # fmt: skip
        said = [
            f"{part['change'].median():.3f} ({name} half)"
            for name, part in parts.items()
            if len(part)
        ]
        return [f"median change of later blocks where a block is deleted: {', '.join(said)}"]


MEMBER = Downstream()


class _Sweep:
    """Changes of later blocks and of the output, batch by batch."""

    def __init__(self, net: Decomposition, options: DownstreamOptions, run: Run) -> None:
        from ensembles.analyses.stream_walk import on_device  # noqa: PLC0415 (torch)

        self.options, self.run, self.net = options, run, on_device(net, run)
        self.blocks = [block for block in self.net if block.has_shortcut]
        self.changes: dict[tuple[int, int], list[Tensor]] = {}
        self.kl: dict[int, list[Tensor]] = {block.index: [] for block in self.blocks}
        self.seen = self.kept = 0

    def read(self, data: Any) -> None:
        """Measure all rows; a batch that fails for memory is halved."""
        from ensembles.analyses.stream_walk import each_part  # noqa: PLC0415 (torch)

        each_part(self.net, data, self.run, self._add, "later blocks")

    def _add(self, batch: Batch) -> None:
        """Measure some rows: all are added or, if memory ends, none."""
        from ensembles.analyses.finite_rows import require_finite  # noqa: PLC0415
        from ensembles.decomposition.state import own, run_block, without_branch  # noqa: PLC0415
        from ensembles.decomposition.walk import states  # noqa: PLC0415

        inputs, targets = batch.inputs, batch.targets
        outputs: dict[int, Any] = {}
        added: dict[int, Tensor] = {}
        for block, x, y in states(self.net, inputs):
            outputs[block.index], last = y, y
            if block.has_shortcut:
                added[block.index] = own(y) - own(without_branch(block, x))
        output = self.net.head(last)
        require_finite(self.run.task, output, targets, batch.start)
        intact = self.run.task.answers(output, targets)
        changes: dict[tuple[int, int], Tensor] = {}
        kl: dict[int, Tensor] = {}
        for deleted in self.blocks:

            def ran(block: Block, x: Any, deleted: Block = deleted) -> Any:
                if block.index < deleted.index:
                    return outputs[block.index]
                return without_branch(block, x) if block is deleted else run_block(block, x)

            for block, x, y in states(self.net, inputs, ran):
                last = y
                if block.index >= deleted.index and block.has_shortcut:
                    changes[deleted.index, block.index] = self._change(
                        own(y) - own(without_branch(block, x)), added[block.index]
                    )
            answers = self.run.task.answers(self.net.head(last), targets, intact)
            kl[deleted.index] = _divergences(answers)
        self._keep(changes, kl, len(targets))

    def _change(self, now: Tensor, before: Tensor) -> Tensor:
        """Relative change of a value at every vector of it, (rows, vectors)."""
        differences, sizes = (self._norms(value) for value in (now - before, before))
        return differences / sizes.clamp_min(_FLOOR)

    def _norms(self, value: Tensor) -> Tensor:
        import torch  # noqa: PLC0415

        wide = value.to(torch.float32 if value.device.type == "mps" else torch.float64)
        if self.options.vectors == "row" or wide.ndim == 2:
            norms: Tensor = torch.linalg.vector_norm(wide.flatten(1), dim=1, keepdim=True)
        else:
            norms = torch.linalg.vector_norm(wide, dim=2 if wide.ndim == 3 else 1).flatten(1)
        return norms

    def _keep(
        self, changes: dict[tuple[int, int], Tensor], kl: dict[int, Tensor], rows: int
    ) -> None:
        self.kept += sum(change.numel() for change in changes.values())
        if self.kept > _MOST:
            raise UsageError(
                f"downstream: {self.kept:,} changes to keep for the medians after "
                f"{self.seen + rows} rows; use fewer rows, or vectors 'row'"
            )
        for pair, change in changes.items():
            self.changes.setdefault(pair, []).append(change.float().cpu())
        for index, values in kl.items():
            self.kl[index].append(values.cpu())
        self.seen += rows

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table."""
        import numpy as np  # noqa: PLC0415
        import torch  # noqa: PLC0415

        names = {block.index: block.name for block in self.net}
        output = {index: _mean(torch.cat(values)) for index, values in self.kl.items()}
        found = []
        for (deleted, block), parts in self.changes.items():
            values = torch.cat(parts).double()
            mean, error = _mean(values.mean(1))
            found.append(
                {
                    "deleted": deleted,
                    "deleted_name": names[deleted],
                    "block": block,
                    "name": names[block],
                    "change": mean,
                    "change_se": error,
                    "median": float(np.median(values.numpy())),
                    "maximum": float(values.max()),
                    "kl": output[deleted][0],
                    "kl_se": output[deleted][1],
                }
            )
        return found


def _divergences(answers: Any) -> Tensor:
    """KL(intact || lesioned) of each observation, in nats."""
    import torch  # noqa: PLC0415

    p, q = (one.log_probabilities.to(answers.wide) for one in (answers.reference, answers))
    found: Tensor = torch.where(p.exp() > 0, p.exp() * (p - q), 0.0).sum(-1)
    return torch.where(answers.finite & answers.reference.finite, found, math.nan)


def _mean(values: Tensor) -> tuple[float, float]:
    """Mean over rows and its standard error; NaN below two rows."""
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return float(values.mean()), error
