"""A walk with gradients: how near each block's output is to its stage's, and which way it goes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.analyses.base import Run
from ensembles.analyses.finite_rows import require_finite
from ensembles.analyses.row_means import row_means
from ensembles.analyses.row_reader import read_rows
from ensembles.analyses.stream import channel_dimension, compared_with
from ensembles.decomposition import Block, Decomposition
from ensembles.decomposition.inputs import placed, take
from ensembles.decomposition.state import leaves, own, without_branch
from ensembles.decomposition.walk import states
from ensembles.engine import choose_device, default_batch_size
from ensembles.engine.devices import compute_dtype
from ensembles.metrics.members.folds import FOLDS
from ensembles.numerics import exact_attention, exact_mathematics
from ensembles.tasks.base import Batch, Task
from ensembles.unravelling.image_rows import image_rows
from ensembles.unravelling.plain_norms import PlainNorms

__all__ = ["MEASURES", "Refined", "features_of", "outputs_of", "stages_of"]

MEASURES = (
    "error", "error_squared", "size", "cosine", "lens_cosine", "first_order", "loss", "right",
)  # fmt: skip
"""What is kept of each row and block; see :class:`Refined`."""

_WATCHED = 1024  # features of a value of which sums over rows are kept


def stages_of(net: Decomposition) -> list[int]:
    """Number of the stage of the stem's output and of each block's, from 1."""
    stages = [1]
    for block in net:
        goes_on = compared_with(block) == "input" and block.before is None
        stages.append(stages[-1] + (not goes_on))
    return stages


class Refined:
    """What rows show of each block, batch by batch; place 0 is the stem.

    Args:
        net: The network; left as it is.
        run: Where and how.
        features: Whether features for fitted heads are kept.

    Attributes:
        values: Of each of :data:`MEASURES`, (blocks + 1, rows): mean and mean square over features
            of x_l - x_L, mean square of x_L; cosine of what the block adds with minus the gradient
            of the loss by its input, and by what the block gives without its branch where later
            branches are left out ("lens"); what that gradient says of adding the block; loss and
            accuracy of the network cut short after the block.
        sums: Sums of some features of x_l - x_L over the rows of each part of the data,
            (parts, blocks + 1, features); what lies behind a block's features is 0.
        watched: How many features these are, (blocks + 1,).
        squares: Sum of the squares of these features, (parts, blocks + 1).
        features: At each depth what a head is fitted on, (rows, features).
        targets: Classes of the rows, where a row has one.
        rows: Rows seen.
    """

    def __init__(self, net: Decomposition, run: Run, *, features: bool) -> None:
        self.run, self.stages = run, stages_of(net)
        self.device = choose_device(run.device)
        self.dtype = compute_dtype(run.precision, self.device)
        ready = copy.deepcopy(net, {id(net.traced): None}).to(self.device, self.dtype)
        self.net = image_rows(ready.requires_grad_(requires_grad=False))
        self.size = run.batch_size or default_batch_size(net, self.device)
        depth = len(net) + 1
        self._values: dict[str, list[Tensor]] = {name: [] for name in MEASURES}
        self.sums = torch.zeros(FOLDS, depth, _WATCHED, dtype=torch.float64)
        self.squares = torch.zeros(FOLDS, depth, dtype=torch.float64)
        self.watched = torch.zeros(depth, dtype=torch.int64)
        self._features: list[list[Tensor]] | None = [[] for _ in range(depth)] if features else None
        self._targets: list[Tensor] = []
        self.rows = 0

    @property
    def values(self) -> dict[str, Tensor]:
        """What was seen of all rows."""
        return {name: torch.cat(parts, 1) for name, parts in self._values.items()}

    @property
    def features(self) -> list[Tensor]:
        """What heads are fitted on, at each depth."""
        assert self._features is not None
        return [torch.cat(parts) for parts in self._features]

    @property
    def targets(self) -> Tensor:
        """Classes of the rows."""
        return torch.cat(self._targets)

    def read(self, data: Any) -> None:
        """Measure all rows; a batch that fails for memory is halved."""
        with (
            exact_mathematics(self.run.precision),
            exact_attention(),
            torch.enable_grad(),
            PlainNorms(),
        ):
            read_rows(
                self, self.net, data, self.run, self._add,
                title="refinement by", size=self.size, device=self.device,
            )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """All that was seen."""
        found = {
            **self.values, "sums": self.sums, "squares": self.squares, "watched": self.watched,
            "rows": torch.tensor(self.rows),
        }  # fmt: skip
        if self._features is not None:
            found |= {f"features {depth}": one for depth, one in enumerate(self.features)}
            found["targets"] = self.targets
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what was seen before."""
        self._values = {name: [state[name]] for name in MEASURES}
        self.sums, self.squares = state["sums"], state["squares"]
        self.watched, self.rows = state["watched"], int(state["rows"])
        if self._features is not None:
            self._features = [[state[f"features {at}"]] for at in range(len(self._features))]
            self._targets = [state["targets"]]

    def _add(self, batch: Batch, part: slice) -> None:
        """Measure some rows of a batch: all are added or, if memory ends, none."""
        inputs = placed(take(batch.inputs, part), self.device, self.dtype)
        targets = batch.targets[part].to(self.device)
        visits, outputs, loss, right = self._walked(inputs, targets, batch.start + part.start)
        asked = [own(x) if compared_with(block) == "input" else own(y) for block, x, y in visits]
        slopes = torch.autograd.grad(loss.sum(), asked, materialize_grads=True)
        count = len(loss)
        found = {name: _blank(len(outputs), count, loss) for name in MEASURES}
        found["loss"][-1], found["right"][-1] = loss.detach(), right
        for place, (block, x, y) in enumerate(visits):
            base, slope, short, short_right = self._cut_short(block, x, targets)
            added = (own(y) - own(base)).detach()
            found["loss"][place], found["right"][place] = short, short_right
            found["cosine"][place + 1] = _cosines(added, -slopes[place])
            found["lens_cosine"][place + 1] = _cosines(added, -slope)
            found["first_order"][place + 1] = _products(added, slope)
        errors = self._errors(outputs, found)
        self._keep(found, outputs, errors, targets)

    def _walked(
        self, inputs: Any, targets: Tensor, start: int
    ) -> tuple[list[tuple[Block, Any, Any]], list[Tensor], Tensor, Tensor]:
        """Every block with what it takes and gives; all outputs; loss and accuracy of each row."""
        stem, visits = _visited(self.net, inputs, leaves)
        last = visits[-1][2]
        output = self.net.head(last)
        require_finite(self.run.task, output, targets, start)
        loss, right = _scores(self.run.task, output, targets)
        outputs = [own(stem).detach(), *(own(y).detach() for _, _, y in visits)]
        return visits, outputs, loss, right

    def _cut_short(
        self, block: Block, x: Any, targets: Tensor
    ) -> tuple[Any, Tensor, Tensor, Tensor]:
        """The network without a block and all later ones.

        Returns:
            What the block gives without its branch; the gradient of each row's loss by that; the
            losses; whether rows are right.
        """
        with torch.no_grad():
            given = without_branch(block, x)
        base = value = leaves(given)
        for later in list(self.net)[block.index :]:
            if later.before is not None:
                value = later.before(value)
            value = without_branch(later, value)
        loss, right = _scores(self.run.task, self.net.head(value), targets)
        (slope,) = torch.autograd.grad(loss.sum(), own(base), materialize_grads=True)
        return base, slope, loss.detach(), right

    def _errors(self, outputs: list[Tensor], found: dict[str, Tensor]) -> list[Tensor]:
        """How far outputs are from that of the last block of their stage, feature by feature."""
        ends = dict(zip(self.stages, outputs, strict=True))  # the last of each stage
        errors = []
        for place, (stage, output) in enumerate(zip(self.stages, outputs, strict=True)):
            end = ends[stage].flatten(1).to(found["error"].dtype)
            error = output.flatten(1).to(end.dtype) - end
            found["error"][place], found["error_squared"][place] = error.mean(1), _square(error)
            found["size"][place] = _square(end)
            errors.append(error)
        return errors

    def _keep(
        self,
        found: dict[str, Tensor],
        outputs: list[Tensor],
        errors: list[Tensor],
        targets: Tensor,
    ) -> None:
        parts = (self.rows + torch.arange(len(targets))) % FOLDS
        for place, error in enumerate(errors):
            size = error.shape[1]
            count = min(size, _WATCHED)
            chosen = torch.arange(count, device=error.device) * size // count
            some = error[:, chosen].double().cpu()
            self.watched[place] = count
            self.sums[:, place, :count].index_add_(0, parts, some)
            self.squares[:, place].index_add_(0, parts, some.square().sum(1))
        for name, values in found.items():
            self._values[name].append(values.double().cpu())
        if self._features is not None:
            for kept, one in zip(self._features, features_of(self.net, outputs), strict=True):
                kept.append(one.cpu())
            self._targets.append(targets.cpu())
        self.rows += len(targets)


def features_of(net: Decomposition, outputs: list[Tensor]) -> list[Tensor]:
    """What a head is fitted on: means over positions of the stem's output and each block's.

    Args:
        net: The network.
        outputs: The outputs, of the stem first.
    """
    blocks = [net.block(1), *net]
    found = []
    for block, output in zip(blocks, outputs, strict=True):
        pooled = output
        if output.ndim > 2:
            channels = output.movedim(channel_dimension(block, output.ndim), -1)
            pooled = channels.flatten(1, -2).mean(1)
        found.append(pooled.float())
    return found


def outputs_of(net: Decomposition, inputs: Any) -> list[Tensor]:
    """What the stem gives, and every block.

    Args:
        net: The network.
        inputs: What it takes.
    """
    stem, visits = _visited(net, inputs, lambda value: value)
    return [own(stem), *(own(y) for _, _, y in visits)]


def _visited(
    net: Decomposition, inputs: Any, start: Callable[[Any], Any]
) -> tuple[Any, list[tuple[Block, Any, Any]]]:
    """What the stem gives, from which a walk starts, and every block with input and output."""
    stems: list[Any] = []

    def between(part: nn.Module, x: Any) -> Any:
        if stems:
            return part(x)
        stems.append(start(part(x)))
        return stems[0]

    visits = list(states(net, inputs, between=between))
    return stems[0], visits


def _scores(task: Task, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and accuracy of each row; where a row has several observations, their means."""
    answers = task.answers(output, targets)
    losses = torch.where(answers.finite, answers.losses, torch.nan)
    right = answers.right.to(losses.dtype)
    return row_means(losses, targets), row_means(right, targets)


def _blank(places: int, rows: int, like: Tensor) -> Tensor:
    wide = torch.float32 if like.device.type == "mps" else torch.float64
    return torch.full((places, rows), torch.nan, dtype=wide, device=like.device)


def _square(values: Tensor) -> Tensor:
    return values.square().mean(1)


def _products(one: Tensor, other: Tensor) -> Tensor:
    wide = torch.float32 if one.device.type == "mps" else torch.float64
    found: Tensor = (one.flatten(1).to(wide) * other.flatten(1).to(wide)).sum(1)
    return found


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    """Cosine of each row's two vectors; NaN where one of them is zero."""
    sizes = _products(one, one) * _products(other, other)
    return _products(one, other) / sizes.sqrt()
