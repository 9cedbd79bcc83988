"""What tasks have in common whose networks take ids of tokens, and give logits for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ensembles.errors import DataError
from ensembles.tasks.base import Batch, Task, numbered
from ensembles.tasks.later_logits import LaterLogits
from ensembles.tasks.token_items import BESIDE, IDS, MASK, TokenInputs, ids_of, item_of

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.data.texts import TextDataset
    from ensembles.decomposition import Decomposition
    from ensembles.metrics.answers import Answers

__all__ = ["Tokens"]

_LOGITS, _LOGITS_ELSEWHERE = 1 << 20, 1 << 26
"""Logits of a part of the answers: as many as a cache holds, and on other devices than a CPU."""


@dataclass(frozen=True)
class Tokens(Task):
    """Some tokens of each window; an observation is a token.

    The network takes the ids of windows of T tokens (N, T), by themselves or with masks and
    positions by name, and gives logits (N, T, vocabulary). A target is the id of a token, -100
    where none is predicted.

    Attributes:
        kind_of_network: What a network of the task is, for messages.
    """

    observation = "token"
    shapes = "ids (N, T) in and logits (N, T, vocabulary) out"
    kind_of_network: ClassVar[str]

    def aligned(self, output: Tensor) -> Tensor:
        """The logits (N, P, vocabulary) of the places that have a target."""
        raise NotImplementedError

    def of_text(self, data: TextDataset) -> Any:
        """What a text of ours holds for this task.

        Raises:
            DataError: If it is for another one.
        """
        raise NotImplementedError

    def targets(self, inputs: TokenInputs, labels: Tensor | None, number: int) -> Tensor:
        """The targets of one item, int64 (N, P).

        Raises:
            DataError: If they cannot be had of it.
        """
        raise NotImplementedError

    def suits(self, net: Decomposition) -> bool:
        """Whether the network takes ids, and gives one vector of logits for each."""
        taken: Any = net.input_shape
        if net.input_names:
            if IDS not in net.input_names or not set(net.input_names) <= {IDS, *BESIDE}:
                return False
            taken = dict(zip(net.input_names, net.input_shape, strict=True))[IDS]
        given = net.output_shape
        windows = len(given) == 2 and len(taken) == 1 and taken[0] == given[0]
        return windows and not any(dtype.is_floating_point for dtype in net.input_types)

    def batches(self, data: Any, batch_size: int) -> Iterator[Batch]:
        """Read windows of tokens as batches.

        Args:
            data: A tensor of windows (N, T); or a torch ``Dataset`` or an iterable of windows (T,)
                or batches of windows (N, T), each as a tensor, a list of numbers, a tuple with one
                of these, or a mapping with `input_ids` and, by name, masks, positions and labels.
                All windows have one length; shorter ones are filled up, which the mask says.
            batch_size: Windows at a time; the last batch may be smaller.

        Raises:
            UsageError: If ``batch_size`` is below 1.
            DataError: If an item is something else, windows differ in length, or there are none.
        """
        import torch  # noqa: PLC0415

        from ensembles.data import ImageDataset  # noqa: PLC0415 (imports torch)
        from ensembles.data.batches import items_of, recut  # noqa: PLC0415 (imports torch)
        from ensembles.data.texts import TextDataset  # noqa: PLC0415
        from ensembles.errors import UsageError  # noqa: PLC0415

        if batch_size < 1:
            raise UsageError(f"a batch size of {batch_size}; expected at least 1")
        if isinstance(data, ImageDataset):
            raise DataError(
                f"{data.name} holds images, and the network is {self.kind_of_network}; give a "
                "text, such as prose or a file"
            )
        if isinstance(data, TextDataset):
            data = self.of_text(data)
        if isinstance(data, torch.Tensor):
            data = [_several(data)]
        pairs = (self._read(item, number) for number, item in enumerate(items_of(data)[0]))
        return numbered(recut(pairs, batch_size, once=isinstance(data, Iterator), noun="windows"))

    def _read(self, item: Any, number: int) -> tuple[TokenInputs, Tensor]:
        inputs, labels = item_of(item, number)
        return inputs, self.targets(inputs, labels, number)

    def fitted(self, net: Decomposition, batch: Batch) -> Batch:
        """A batch in the form that a network takes.

        Where the network takes a mask and the data have none, nothing is masked; where it takes
        none, one that masks nothing is left out.

        Raises:
            DataError: If the data mask something that the network would not know, or lack
                positions.
        """
        import torch  # noqa: PLC0415

        given = batch.inputs if isinstance(batch.inputs, dict) else {IDS: batch.inputs}
        names = net.input_names or (IDS,)
        found: dict[str, Any] = {MASK: torch.ones_like(ids_of(given)), **given}
        lacking = [name for name in names if name not in found]
        if lacking:
            raise DataError(
                f"the data have {' and '.join(given)}, and the network was taken apart for "
                f"{' and '.join(names)}; give {' and '.join(lacking)} too, or decompose without"
            )
        if MASK not in names and not bool(found[MASK].all()):
            raise DataError(
                "the data have zeros in attention_mask, and the network was taken apart for ids "
                "alone; take it apart with a mapping of input_ids and attention_mask"
            )
        fit = found[IDS] if not net.input_names else {name: found[name] for name in names}
        return batch._replace(inputs=fit)

    def check(self, net: Decomposition, batch: Batch) -> None:
        """Hold the length of the windows and the range of the ids against a network.

        Raises:
            DataError: Saying what was found and what would fit.
        """
        ids, length = ids_of(batch.inputs), net.output_shape[0]
        found = ids.shape[1]
        if found != length:
            raise DataError(
                f"the windows have {found} tokens; the network was taken apart for windows of "
                f"{length}: cut the text into such windows, or decompose with windows of {found}"
            )
        highest, vocabulary = int(ids.max()), net.num_classes
        if highest >= vocabulary:
            raise DataError(
                f"the data have the token {highest}, the network a vocabulary of {vocabulary} (0 "
                f"to {vocabulary - 1}); use the tokenizer of the network"
            )

    def answers(
        self, output: Tensor, targets: Tensor, intact: Tensor | Answers | None = None
    ) -> Answers:
        """Logits (N, T, vocabulary) as answers to the tokens that are predicted, in order."""
        from ensembles.metrics.answers import Answers  # noqa: PLC0415 (imports torch)

        asked = targets >= 0
        if intact is not None and not isinstance(intact, Answers):
            intact = self.aligned(intact)[asked]
        return Answers.of(self.aligned(output)[asked], targets[asked], intact)

    def parts(
        self,
        output: Tensor | LaterLogits,
        targets: Tensor,
        intact: Sequence[Answers] | None = None,
    ) -> Iterator[Answers]:
        """Logits (N, T, vocabulary) as answers to some tokens of one window at a time.

        So the loss of 1,024 tokens over a vocabulary of 50,000 takes a few megabytes beside the
        logits themselves; where these are computed later, of the tokens that are asked for alone,
        those of a piece are all that there is.
        """
        from ensembles.metrics.answers import Answers  # noqa: PLC0415 (imports torch)

        most = _LOGITS_ELSEWHERE if targets.device.type != "cpu" else _LOGITS
        rest = None if intact is None else iter(intact)
        for number, logits, tokens, places in self._pieces(output, targets):
            length = max(1, most // logits.shape[-1])
            whole = bool((tokens >= 0).all())
            for start in range(0, len(tokens), length):
                part = slice(start, min(start + length, len(tokens)))
                given = logits[part], tokens[part], places[part]
                if not whole:
                    asked = tokens[part] >= 0
                    if not bool(asked.any()):
                        continue
                    given = logits[part][asked], tokens[part][asked], places[part][asked]
                before = None if rest is None else next(rest)
                found = Answers.of(given[0], given[1], before, given[2])
                found.row = number
                yield found

    def _pieces(
        self, output: Tensor | LaterLogits, targets: Tensor
    ) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """The number of a window, logits of it, the tokens that they are for, and their places."""
        import torch  # noqa: PLC0415

        rows = self.aligned(output.states if isinstance(output, LaterLogits) else output)
        for number, (row, right) in enumerate(zip(rows, targets, strict=True)):
            places = torch.arange(len(right), device=right.device)
            if not isinstance(output, LaterLogits):
                yield number, row, right, places
                continue
            asked = (right >= 0).nonzero()[:, 0]
            for part, logits in output.pieces(row[asked]):
                yield number, logits, right[asked][part], places[asked][part]

    def observations(self, batch: Batch) -> int:
        """How many tokens are predicted."""
        return int((batch.targets >= 0).sum())

    def labels(self, data: Any) -> list[int]:
        """The id of every token that is predicted, in order."""
        return [one for batch in data for one in batch.targets[batch.targets >= 0].tolist()]


def _several(ids: Tensor) -> Tensor:
    """Windows (N, T), refused where they are one long row of ids, or anything else."""
    if ids.ndim != 2:
        raise DataError(
            f"the ids have shape {tuple(ids.shape)}; expected windows (N, T): cut a text into "
            "windows of one length, as by ids[: len(ids) // T * T].reshape(-1, T)"
        )
    return ids
