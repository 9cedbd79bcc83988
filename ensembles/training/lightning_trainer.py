"""Lightning's trainer for a plan, kept quiet, and interrupted as the rest of the program is."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ensembles.cuda_graphs import recorder_for
from ensembles.data.texts import TextDataset
from ensembles.distribution import install
from ensembles.errors import EnsemblesError
from ensembles.training.plan import Plan
from ensembles.training.stochastic_depth import BlockDropping

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from ensembles.training.module import TrainingModule

__all__ = ["interruptible", "quiet", "trainer_of"]

_VALIDATION_IMAGES = 2000
_VALIDATION_WINDOWS = 100


def trainer_of(
    plan: Plan,
    model: torch.nn.Module,
    dropping: BlockDropping | None,
    options: dict[str, Any],
    report: Callable[[str], None],
    *,
    graphs: bool,
) -> tuple[Trainer, TrainingModule]:
    """Make the trainer, and what it trains.

    Args:
        plan: The training.
        model: Its network.
        dropping: Its rule of dropped blocks.
        options: Device and precision, as ``trainer_options`` gives them.
        report: Takes one line an epoch.
        graphs: Whether a GPU replays whole steps.

    Raises:
        EnsemblesError: When Lightning is not installed.
    """
    try:
        from lightning.pytorch import Trainer  # noqa: PLC0415 (slow, and an extra)
        from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: PLC0415
    except ImportError:
        raise EnsemblesError(
            f"training needs the package lightning, which is not installed; run: {install('train')}"
        ) from None
    from ensembles.training.image_module import ImageModule  # noqa: PLC0415
    from ensembles.training.module import AtomicCheckpointIO  # noqa: PLC0415
    from ensembles.training.text_module import TextModule  # noqa: PLC0415

    kind: Any = TextModule if isinstance(plan.train, TextDataset) else ImageModule
    most = _VALIDATION_IMAGES if kind is ImageModule else _VALIDATION_WINDOWS
    module = kind(
        model.to(memory_format=torch.channels_last),
        plan.recipe,
        plan.epochs,
        train=plan.train,
        validation=None if plan.test is None else plan.test.limited(most),
        dropping=dropping,
        seed=plan.seed,
        settings=plan.settings,
        report=report,
        recorder=recorder_for if graphs else lambda device: None,
    )
    saving = ModelCheckpoint(
        plan.out, plan.state.stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    with quiet():
        trainer = Trainer(
            **options,
            max_epochs=plan.epochs,
            default_root_dir=plan.out,
            callbacks=[saving],
            plugins=[AtomicCheckpointIO()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
    return trainer, module


@contextmanager
def interruptible(trainer: Trainer) -> Iterator[None]:
    """Turn the trainer's own way of ending on Ctrl-C back into ``KeyboardInterrupt``."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except SystemExit:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from None
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the trainer's own notes off the terminal; restored afterwards."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
