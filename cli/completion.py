"""What a shell offers after --model, --checkpoint and --dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

__all__ = ["checkpoint_names", "dataset_names", "model_names"]

Offer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _offer(names: Callable[[], Iterable[str]]) -> Offer:
    """Offer names that begin as what is typed, and files; nothing where names cannot be had."""

    def offered(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem]:
        found: list[CompletionItem] = []
        with suppress(Exception):  # a shell must not show a traceback in the line that is typed
            found = [CompletionItem(name) for name in names() if name.startswith(typed)]
        return found or [CompletionItem(typed, type="file")]

    return offered


def _models() -> list[str]:
    from ensembles.models import list_models  # noqa: PLC0415 (torch)

    return list_models("ensembles") + list_models("torchvision")


def _checkpoints() -> list[str]:
    from ensembles.checkpoints import list_checkpoints  # noqa: PLC0415 (torch)

    return ["random", *(entry.card.name for entry in list_checkpoints())]


def _datasets() -> list[str]:
    from ensembles.data import known_datasets  # noqa: PLC0415 (torch)

    return [entry.name for entry in known_datasets(None)]


model_names, checkpoint_names, dataset_names = map(_offer, (_models, _checkpoints, _datasets))
