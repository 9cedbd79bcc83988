"""Mixtures of experts: for how many tokens other experts are chosen where a block is deleted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ensembles.analyses.base import Analysis, HeatMap, Options, Run
from ensembles.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from ensembles.decomposition import Decomposition
    from ensembles.tasks.base import Batch

__all__ = ["MEMBER", "Experts", "ExpertsOptions"]


@dataclass(frozen=True)
class ExpertsOptions(Options):
    """There are none."""


class Experts(Analysis[ExpertsOptions]):
    """For each deleted block and each later mixture, the tokens that go to other experts.

    A lesion leaves the router free: it chooses by the stream that reaches it. So what a deletion
    costs is what the block added, and what other experts make of it. How often that happens is
    counted here, over all tokens of all windows.
    """

    name = "experts"
    summary = "Mixtures of experts: tokens that go to other experts where a block is deleted."
    options = ExpertsOptions
    label = ("deleted", "block")
    shown = ("deleted", "deleted_name", "block", "name", "tokens", "changed", "share", "exchanged")
    heat_map = HeatMap(
        "deleted", "block", "share",
        ("Deleted block", "Mixture of experts", "Share of tokens with other experts"),
        diagonal=False, low=0.0,
    )  # fmt: skip

    def check(self, net: Decomposition, options: ExpertsOptions) -> None:
        """Refuse a network without mixtures.

        Raises:
            UsageError: Saying what is expected.
        """
        from ensembles.decomposition.mixtures import mixtures  # noqa: PLC0415

        if not mixtures(net):
            raise UsageError(
                f"experts: no block of {net.model_name} chooses among experts; expected a mixture "
                "of experts whose routers take the topk of them, such as Mixtral or OLMoE"
            )

    def measure(
        self, net: Decomposition, data: Any, options: ExpertsOptions, run: Run
    ) -> pd.DataFrame:
        """One row for each deleted block and each later mixture.

        Returns:
            ``deleted`` and ``deleted_name``, ``block`` and ``name``; ``tokens``, ``changed``, how
            many of them have another set of experts than in the intact network, ``share``, their
            share, and ``exchanged``, the share of all chosen experts that are others.
            ``attrs["anywhere"]`` holds, for each deleted block, the tokens with other experts in
            at least one mixture.

        Raises:
            EnsemblesError: As the data or the network raise it.
        """
        import pandas as pd  # noqa: PLC0415

        counts = _Counts(net, run)
        counts.read(data)
        frame = pd.DataFrame(counts.rows())
        frame.attrs = {
            "task": run.task.name,
            "observation": run.task.observation,
            "blocks": len(net),
            "transitions": [block.index for block in net if block.is_transition],
            "rows": counts.seen,
            "anywhere": counts.anywhere_rows(),
        }
        return frame

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """How many tokens are sent elsewhere by a deletion, over all mixtures behind it."""
        found = sorted(frame.attrs["anywhere"], key=lambda one: -one["changed"])
        if not found:
            return []
        middle = found[len(found) // 2]
        return [
            f"tokens that go to other experts in at least one later mixture: {_told(found[0])} at "
            f"most, {_told(middle)} as the median deletion"
        ]


MEMBER = Experts()


def _told(row: dict[str, Any]) -> str:
    share = row["changed"] / row["tokens"]
    return f"{row['changed']} of {row['tokens']} ({share:.0%}) without {row['deleted_name']}"


class _Counts:
    """Changes of the chosen experts, batch by batch."""

    def __init__(self, net: Decomposition, run: Run) -> None:
        from ensembles.decomposition.mixtures import watched  # noqa: PLC0415
        from ensembles.engine import choose_device, default_batch_size  # noqa: PLC0415
        from ensembles.engine.devices import compute_dtype  # noqa: PLC0415

        self.run = run
        self.device = choose_device(run.device)
        self.dtype = compute_dtype(run.precision, self.device)
        self.net, self.chosen = watched(net)
        self.net.to(self.device, self.dtype)
        self.size = run.batch_size or default_batch_size(net, self.device)
        self.changed: dict[tuple[int, int], int] = {}
        self.exchanged: dict[tuple[int, int], float] = {}
        self.anywhere: dict[int, int] = {}
        self.tokens: dict[int, int] = {}
        self.seen = 0

    def read(self, data: Any) -> None:
        """Count over all rows; a batch that fails for memory is halved."""
        import torch  # noqa: PLC0415

        from ensembles.decomposition.inputs import rows_of  # noqa: PLC0415
        from ensembles.engine.memory import Halver  # noqa: PLC0415
        from ensembles.numerics import exact_attention, exact_mathematics  # noqa: PLC0415
        from ensembles.progress import bar  # noqa: PLC0415

        halver = Halver(self.device)
        whole = len(data) if hasattr(data, "__len__") and hasattr(data, "__getitem__") else 0
        title = f"experts of {self.run.model or self.net.model_name}"
        with (
            bar(title, " rows", shown=self.run.progress) as report,
            torch.inference_mode(),
            exact_mathematics(self.run.precision),
            exact_attention(),
        ):
            for given in self.run.task.batches(data, self.size):
                batch = self.run.task.fitted(self.net, given)
                self.run.task.check(self.net, batch)
                halver.each(rows_of(batch.inputs), partial(self._add, batch))
                report(self.seen, whole)

    def _add(self, batch: Batch, part: slice) -> None:
        """Count over some rows of a batch: all are added or, if memory ends, none."""
        from ensembles.decomposition.inputs import placed, take  # noqa: PLC0415

        inputs = placed(take(batch.inputs, part), self.device, self.dtype)
        outputs, intact = self._run(inputs, None, {})
        found = {}
        for block in self.net:
            if block.has_shortcut and block.index < max(self.chosen):
                found[block.index] = self._run(inputs, block.index, outputs)[1]
        for deleted, choices in found.items():
            others = None
            for index, experts in choices.items():
                if index <= deleted:
                    continue
                exchanged = _exchanged(intact[index], experts)
                pair = deleted, index
                self.changed[pair] = self.changed.get(pair, 0) + int((exchanged > 0).sum())
                more = float(exchanged.sum()) / experts.shape[-1]
                self.exchanged[pair] = self.exchanged.get(pair, 0.0) + more
                others = exchanged if others is None else others + exchanged
            assert others is not None
            self.anywhere[deleted] = self.anywhere.get(deleted, 0) + int((others > 0).sum())
        for index, experts in intact.items():
            self.tokens[index] = self.tokens.get(index, 0) + len(experts)
        self.seen += len(batch.targets[part])

    def _run(
        self, inputs: Any, deleted: int | None, outputs: dict[int, Any]
    ) -> tuple[dict[int, Any], dict[int, Tensor]]:
        """What each block gives, and which experts its mixture chooses."""
        from ensembles.decomposition.state import State, run_block  # noqa: PLC0415
        from ensembles.decomposition.walk import states  # noqa: PLC0415

        def ran(block: Any, x: Any) -> Any:
            if deleted is None or block.index > deleted:
                return run_block(block, x)
            if block.index < deleted:
                return outputs[block.index]
            if isinstance(x, State):
                return x.with_x(block.deleted(x.x, *x.beside(block.reads)))
            return block.deleted(x)

        given, experts = {}, {}
        for block, _, y in states(self.net, inputs, ran):
            given[block.index] = y
            kept = self.chosen.get(block.index)
            if kept is not None and kept.last is not None:
                experts[block.index] = kept.last
        return given, experts

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table."""
        names = {block.index: block.name for block in self.net}
        return [
            {
                "deleted": deleted,
                "deleted_name": names[deleted],
                "block": index,
                "name": names[index],
                "tokens": self.tokens[index],
                "changed": changed,
                "share": changed / self.tokens[index],
                "exchanged": self.exchanged[deleted, index] / self.tokens[index],
            }
            for (deleted, index), changed in sorted(self.changed.items())
        ]

    def anywhere_rows(self) -> list[dict[str, Any]]:
        """For each deleted block, the tokens with other experts in at least one mixture."""
        names = {block.index: block.name for block in self.net}
        tokens = max(self.tokens.values())
        return [
            {
                "deleted": deleted,
                "deleted_name": names[deleted],
                "tokens": tokens,
                "changed": changed,
            }
            for deleted, changed in sorted(self.anywhere.items())
        ]


def _exchanged(intact: Tensor, lesioned: Tensor) -> Tensor:
    """How many experts of each token are others, (tokens,)."""
    kept = (intact[:, :, None] == lesioned[:, None, :]).any(-1).sum(-1)
    found: Tensor = intact.shape[-1] - kept
    return found
