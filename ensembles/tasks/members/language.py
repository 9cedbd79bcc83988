"""The next token: ids in, logits for each token out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensembles.errors import DataError, UsageError
from ensembles.tasks.base import Batch, Task, numbered

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.decomposition import Decomposition
    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Language"]

_LOGITS, _LOGITS_ELSEWHERE = 1 << 20, 1 << 26
"""Logits of a part of the answers: as many as a cache holds, and on other devices than a CPU."""

_EXPECTED = "expected whole numbers, the ids of the tokens of a window (T,) or of windows (N, T)"


@dataclass(frozen=True)
class Language(Task):
    """The next token; an observation is a token.

    The network takes the ids of windows of T tokens, (N, T), and gives logits (N, T, vocabulary).
    The observations are the tokens 2 to T of each window, each predicted from those before it in
    the window; no token is added. The targets are the ids from the second on, int64 (N, T - 1).
    """

    name = "language"
    summary = "the next token: ids in, logits for each token out"
    observation = "token"
    shapes = "ids (N, T) in and logits (N, T, vocabulary) out"

    def suits(self, net: Decomposition) -> bool:
        """Whether the network takes ids, and gives one vector of logits for each."""
        taken, given = net.input_shape, net.output_shape
        windows = len(given) == 2 and len(taken) == 1 and taken[0] == given[0]
        return windows and not any(dtype.is_floating_point for dtype in net.input_types)

    def batches(self, data: Any, batch_size: int) -> Iterator[Batch]:
        """Read windows of a text as batches.

        Args:
            data: A tensor of windows (N, T); or a torch ``Dataset`` or an iterable of windows (T,)
                or batches of windows (N, T), each as a tensor, a list of numbers, a tuple with one
                of these, or a mapping with `input_ids`. All windows have one length.
            batch_size: Windows at a time; the last batch may be smaller.

        Raises:
            UsageError: If ``batch_size`` is below 1.
            DataError: If an item is something else, windows differ in length, or there are none.
        """
        import torch  # noqa: PLC0415

        from ensembles.data.batches import items_of, recut  # noqa: PLC0415 (imports torch)

        if batch_size < 1:
            raise UsageError(f"a batch size of {batch_size}; expected at least 1")
        from ensembles.data import ImageDataset  # noqa: PLC0415 (imports torch)
        from ensembles.data.texts import TextDataset  # noqa: PLC0415

        if isinstance(data, ImageDataset):
            raise DataError(
                f"{data.name} holds images, and the network is a language model; give a text, such "
                "as prose or a file"
            )
        if isinstance(data, TextDataset):
            data = data.windows
        if isinstance(data, torch.Tensor):
            data = [_several(data)]
        pairs = (_windows(item, number) for number, item in enumerate(items_of(data)[0]))
        return numbered(recut(pairs, batch_size, once=isinstance(data, Iterator), noun="windows"))

    def check(self, net: Decomposition, batch: Batch) -> None:
        """Hold the length of the windows and the range of the ids against a network.

        Raises:
            DataError: Saying what was found and what would fit.
        """
        assert not isinstance(batch.inputs, tuple | dict)
        length, found = net.input_shape[0], batch.inputs.shape[1]
        if found != length:
            raise DataError(
                f"the windows have {found} tokens; the network was taken apart for windows of "
                f"{length}: cut the text into such windows, or decompose with windows of {found}"
            )
        highest, vocabulary = int(batch.inputs.max()), net.num_classes
        if highest >= vocabulary:
            raise DataError(
                f"the data have the token {highest}, the network a vocabulary of {vocabulary} (0 "
                f"to {vocabulary - 1}); use the tokenizer of the network"
            )

    def answers(
        self, output: Tensor, targets: Tensor, intact: Tensor | Answers | None = None
    ) -> Answers:
        """Logits (N, T, vocabulary) as answers to N (T - 1) tokens, window by window."""
        from ensembles.metrics.answers import Answers  # noqa: PLC0415 (imports torch)

        if intact is not None and not isinstance(intact, Answers):
            intact = intact[:, :-1].flatten(0, 1)
        return Answers.of(output[:, :-1].flatten(0, 1), targets.flatten(), intact)

    def parts(
        self, output: Tensor, targets: Tensor, intact: Sequence[Answers] | None = None
    ) -> Iterator[Answers]:
        """Logits (N, T, vocabulary) as answers to some tokens of one window at a time.

        So the loss of 1,024 tokens over a vocabulary of 50,000 takes a few megabytes beside the
        logits themselves.
        """
        from ensembles.metrics.answers import Answers  # noqa: PLC0415 (imports torch)

        most = _LOGITS_ELSEWHERE if output.device.type != "cpu" else _LOGITS
        length = max(1, most // output.shape[-1])
        rest = None if intact is None else iter(intact)
        for row, right in zip(output, targets, strict=True):
            for start in range(0, len(right), length):
                part = slice(start, min(start + length, len(right)))
                before = None if rest is None else next(rest)
                yield Answers.of(row[part], right[part], before, part.start)

    def observations(self, batch: Batch) -> int:
        """How many tokens are predicted."""
        return batch.targets.numel()


def _several(ids: Tensor) -> Tensor:
    """Windows (N, T), refused where they are one long row of ids, or anything else."""
    if ids.ndim != 2:
        raise DataError(
            f"the ids have shape {tuple(ids.shape)}; expected windows (N, T): cut a text into "
            "windows of one length, as by ids[: len(ids) // T * T].reshape(-1, T)"
        )
    return ids


def _windows(item: Any, number: int) -> tuple[Tensor, Tensor]:
    """One item as windows (N, T), and the tokens that follow, (N, T - 1)."""
    import torch  # noqa: PLC0415

    from ensembles.data.items import tensor, type_name  # noqa: PLC0415 (imports torch)

    ids = tensor(_ids(item, number), "window", number)
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise DataError(f"item {number} of the data is of type {type_name(ids.dtype)}; {_EXPECTED}")
    if ids.ndim == 1:
        ids = ids.unsqueeze(0)
    if ids.ndim != 2:
        raise DataError(f"item {number} of the data is of shape {tuple(ids.shape)}; {_EXPECTED}")
    if ids.shape[1] < 2:
        raise DataError(
            f"item {number} of the data is a window of {ids.shape[1]} tokens, of which none is "
            "predicted; expected at least 2"
        )
    if ids.numel() and int(ids.min()) < 0:
        raise DataError(
            f"item {number} of the data has the token {int(ids.min())}; expected ids from 0, "
            "without padding"
        )
    return ids.long(), ids[:, 1:].long()


def _ids(item: Any, number: int) -> Any:
    """The ids as they lie in an item."""
    import torch  # noqa: PLC0415

    if isinstance(item, Mapping):
        return _named_ids(item, number)
    if not isinstance(item, tuple | list) or not any(isinstance(x, torch.Tensor) for x in item):
        return item
    if len(item) > 1:
        raise DataError(
            f"item {number} of the data is a {type(item).__name__} of {len(item)}; expected the "
            "ids alone, as what is to be predicted are the ids that follow"
        )
    return item[0]


def _named_ids(item: Mapping[Any, Any], number: int) -> Any:
    """The ids of a mapping, all of which must count; what it says beside them is left out."""
    import torch  # noqa: PLC0415

    if "input_ids" not in item:
        keys = ", ".join(map(str, item)) or "nothing"
        raise DataError(
            f"item {number} of the data is a mapping with {keys}; expected one with input_ids"
        )
    ids = torch.as_tensor(item["input_ids"])
    if "attention_mask" in item and not bool(torch.as_tensor(item["attention_mask"]).all()):
        raise DataError(
            f"item {number} of the data has zeros in attention_mask; expected whole windows of one "
            "length, without padding"
        )
    if "labels" in item and not torch.equal(torch.as_tensor(item["labels"]), ids):
        raise DataError(
            f"item {number} of the data has labels that are not its input_ids; leave them out: all "
            "tokens from the second on are predicted"
        )
    return ids


MEMBER = Language()
