"""Training a network by one call: the data, the trainer, the files it leaves."""

from __future__ import annotations

import csv
import io
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ensembles.data import ImageDataset, Normalization
from ensembles.data import dataset as open_dataset
from ensembles.errors import CheckpointError, EnsemblesError, ModelError, OutputError, UsageError
from ensembles.models import architecture, create_model
from ensembles.training.card import read_card, save_weights, write_card
from ensembles.training.dropping import dropping_for, fold_survival
from ensembles.training.files import write_atomically
from ensembles.training.measuring import Measured, measure
from ensembles.training.randomness import stream_seed
from ensembles.training.recipes import Recipe, load_recipe

if TYPE_CHECKING:
    from ensembles.training.module import TrainingModule

__all__ = ["TrainingResult", "train"]

_VALIDATION_IMAGES = 2000
_PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves.

    Attributes:
        weights: The final weights (safetensors).
        card: What they are (TOML).
        initial: The weights before the first step, if they were asked for.
        measured: Right answers on the test images, in float32; ``None`` without test images.
    """

    weights: Path
    card: Path
    initial: Path | None
    measured: Measured | None


@dataclass(frozen=True)
class _Plan:
    """One training, with everything looked up and checked."""

    model_name: str
    arguments: dict[str, Any]
    train: ImageDataset
    test: ImageDataset | None
    recipe: Recipe
    epochs: int
    stochastic_depth: float
    paths_only: int | None
    seed: int
    out: Path

    def file(self, ending: str) -> Path:
        return self.out / f"{self.model_name.replace(':', '-')}{ending}"

    @property
    def settings(self) -> dict[str, Any]:
        """What must be equal to go on with an interrupted training."""
        hyperparameters = self.recipe.hyperparameters()
        return {
            "model": self.model_name,
            **{f"argument {key}": value for key, value in self.arguments.items()},
            "training images": self.train.content_hash,
            "normalisation": str(self.train.normalization),
            **{f"recipe {key}": _plain(value) for key, value in hyperparameters.items()},
            "epochs": self.epochs,
            "stochastic depth": self.stochastic_depth,
            "paths-only": self.paths_only,
            "seed": self.seed,
        }


def train(
    model_name: str,
    dataset: str | os.PathLike[str] | tuple[ImageDataset, ImageDataset | None] = "digits",
    *,
    out: str | os.PathLike[str],
    recipe: str | Path | Recipe = "short",
    epochs: int | None = None,
    stochastic_depth: float = 0.0,
    paths_only: int | None = None,
    seed: int = 0,
    resume: bool = False,
    init: bool = False,
    limit: int | None = None,
    normalize: Normalization | str | None = None,
    device: str = "auto",
    devices: int = 1,
    precision: str = "auto",
    report: Callable[[str], None] | None = None,
) -> TrainingResult:
    """Train a network and leave its weights with their card.

    Args:
        model_name: A name of ``list_models()``.
        dataset: A named data set or a folder with the splits ``train`` and ``test``; or the two
            data sets themselves, the second of which may be ``None``.
        out: Folder for the state (``last.ckpt``), the weights (``MODEL.safetensors``), their card
            (``MODEL.toml``) and ``history.csv``; made if it is not there.
        recipe: Name or file of a recipe, or a recipe.
        epochs: Number of epochs; otherwise the recipe's.
        stochastic_depth: Survival probability of the last block (Huang et al. 2016, linear decay);
            0 drops nothing.
        paths_only: Exactly so many blocks, drawn anew, are in the network in each step.
        seed: Seed of initial weights, order, augmentation and dropped blocks. One seed gives the
            same weights on one machine, interrupted or not.
        resume: Whether to go on from the state in ``out``, or start where there is none.
        init: Whether to keep the initial weights as ``MODEL.init.safetensors``.
        limit: At most so many training images, evenly spread.
        normalize: A normalisation or its name; otherwise the data set's own, and for a folder mean
            and deviation of its training images.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        devices: Number of devices that share each batch.
        precision: ``fp32``, ``bf16`` (automatic mixed precision; parameters stay float32), or
            ``auto``: bf16 where the device computes in it.
        report: Takes one line an epoch; otherwise nothing is reported.

    Returns:
        The files, and the error that was measured.

    Raises:
        UsageError: When an option cannot be meant, or does not fit the state in ``out``.
        ModelError: When there is no such network, or it does not take the images.
        DataError: When the data cannot be read.
        EvaluationError: When the loss stops being finite.
        OutputError: When ``out`` cannot be written.
        KeyboardInterrupt: On Ctrl-C; the state of the last whole epoch stays in ``out``.
    """
    report = report or (lambda line: None)
    chosen = load_recipe(recipe)
    if epochs is not None and epochs < 1:
        raise UsageError(f"{epochs} epochs; expected at least 1")
    training, test = _open(dataset, limit, normalize)
    arguments: dict[str, Any] = {"num_classes": len(training.classes)}
    if training.shape[0] != 3 and architecture(model_name).library == "ensembles":
        arguments["in_channels"] = training.shape[0]
    plan = _Plan(
        model_name=model_name,
        arguments=arguments,
        train=training,
        test=test,
        recipe=chosen,
        epochs=epochs or chosen.epochs,
        stochastic_depth=stochastic_depth,
        paths_only=paths_only,
        seed=seed,
        out=Path(out).expanduser(),
    )
    trainer_options = _trainer_options(device, devices, precision)
    with torch.random.fork_rng():
        return _run(plan, trainer_options, resume, init, report)


def _open(
    dataset: str | os.PathLike[str] | tuple[ImageDataset, ImageDataset | None],
    limit: int | None,
    normalize: Normalization | str | None,
) -> tuple[ImageDataset, ImageDataset | None]:
    if isinstance(dataset, tuple):
        training, test = dataset
    else:
        training, test = open_dataset(dataset, "train"), open_dataset(dataset, "test")
        if test.content_hash == training.content_hash:
            raise UsageError(
                f"{training.name} has no split of its own for testing; expected the folders train "
                "and test (or val) in it"
            )
        if normalize is None and training.normalization == Normalization.parse("none"):
            normalize = _measured_normalization(training)
    if limit is not None:
        training = training.limited(limit)
    if normalize is not None:
        training = training.with_normalization(normalize)
    if test is not None:
        if test.classes != training.classes:
            raise UsageError(
                f"the test images have {len(test.classes)} classes that are not the "
                f"{len(training.classes)} of the training images; expected the same ones"
            )
        test = test.with_normalization(training.normalization)
    if len(training) < 2:
        raise UsageError(f"{len(training)} training image; expected at least 2")
    return training, test


def _measured_normalization(data: ImageDataset) -> Normalization:
    """Mean and standard deviation of each channel, to four places."""
    images, _ = data.raw()
    pixels = torch.stack(
        [torch.bincount(part.flatten(), minlength=256) for part in images.unbind(1)]
    )
    values = torch.arange(256, dtype=torch.float64) / 255
    share = pixels.double() / pixels.sum(1, keepdim=True)
    mean = (share * values).sum(1)
    deviation = (share * (values - mean.unsqueeze(1)) ** 2).sum(1).sqrt()
    return Normalization(
        tuple(round(value, 4) for value in mean.tolist()),
        tuple(round(value, 4) or 1.0 for value in deviation.tolist()),
    )


def _trainer_options(device: str, devices: int, precision: str) -> dict[str, Any]:
    if precision not in _PRECISIONS:
        raise UsageError(f"precision {precision!r}; expected one of {', '.join(_PRECISIONS)}")
    if devices < 1:
        raise UsageError(f"{devices} devices; expected at least 1")
    kind, _, number = device.partition(":")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        kind = "mps" if kind == "cpu" and torch.backends.mps.is_available() else kind
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        raise UsageError(f"device {device!r}; expected auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and int(number or 0) + devices > torch.cuda.device_count():
        raise UsageError(
            f"device {device!r} with {devices} in all, but {torch.cuda.device_count()} CUDA "
            "devices are there; choose cpu or fewer devices"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not there; choose cpu")
    bf16 = precision == "bf16" or (precision == "auto" and _computes_bf16(kind))
    return {
        "accelerator": kind,
        "devices": [int(number)] if number else devices,
        "strategy": "auto" if devices == 1 else "ddp_find_unused_parameters_true",
        "precision": "bf16-mixed" if bf16 else "32-true",
    }


def _computes_bf16(kind: str) -> bool:
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return kind == "cpu" and probe is not None and bool(probe())


def _run(
    plan: _Plan,
    options: dict[str, Any],
    resume: bool,
    init: bool,
    report: Callable[[str], None],
) -> TrainingResult:
    state = plan.out / "last.ckpt"
    going_on = _prepare_folder(plan, state, resume)
    finished = _finished(plan, init) if resume else None
    if finished is not None:
        report(f"already trained: {finished.weights}")
        return finished
    torch.manual_seed(stream_seed(plan.seed, "initial weights"))
    model = create_model(plan.model_name, **plan.arguments)
    dropping = dropping_for(model, plan.model_name, plan.stochastic_depth, plan.paths_only)
    _check_fit(model, plan)
    if init:
        save_weights(model, plan.file(".init.safetensors"))
    module = _fit(plan, model, options, state if going_on else None, report)
    plain = fold_survival(module.model.cpu(), dropping)
    return _export(plan, plain, module.history, str(options["precision"]), init)


def _prepare_folder(plan: _Plan, state: Path, resume: bool) -> bool:
    """Make the folder; whether there is a state to go on from, which fits the plan."""
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {plan.out}: {error.strerror}; choose another --out"
        ) from None
    if not state.exists():
        return False
    if not resume:
        raise UsageError(
            f"{plan.out} already holds a training; give --resume to go on, or another --out"
        )
    try:
        found = torch.load(state, map_location="cpu", weights_only=True)["ensembles"]["settings"]
    except Exception as error:
        raise CheckpointError(
            f"cannot read the state {state} ({type(error).__name__}); remove it to start anew"
        ) from None
    wanted = plan.settings
    for key in [*wanted, *(key for key in found if key not in wanted)]:
        if found.get(key) != wanted.get(key):
            raise UsageError(
                f"{plan.out} holds a training with {key} {found.get(key)}, but {wanted.get(key)} "
                "is asked for; give the same options to --resume, or another --out"
            )
    return True


def _finished(plan: _Plan, init: bool) -> TrainingResult | None:
    """The result of a training that came to its end, if there is one."""
    weights, card = plan.file(".safetensors"), plan.file(".toml")
    if not (weights.exists() and card.exists()):
        return None
    measured = read_card(card).get("measured")
    return TrainingResult(
        weights,
        card,
        plan.file(".init.safetensors") if init else None,
        Measured(measured["correct"], measured["total"]) if measured else None,
    )


@torch.no_grad()
def _check_fit(model: nn.Module, plan: _Plan) -> None:
    images, _ = next(plan.train.batches(2))
    size = "x".join(map(str, plan.train.shape))
    try:
        logits = model.eval()(images)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ModelError(
            f"{plan.model_name} does not take images of {size}: {str(error).splitlines()[0]}"
        ) from error
    finally:
        model.train()
    if not isinstance(logits, torch.Tensor) or logits.shape[1:] != (len(plan.train.classes),):
        raise ModelError(
            f"{plan.model_name} gives no logits of {len(plan.train.classes)} classes for images of "
            f"{size}; choose a classification network"
        )


def _fit(
    plan: _Plan,
    model: nn.Module,
    options: dict[str, Any],
    state: Path | None,
    report: Callable[[str], None],
) -> TrainingModule:
    try:
        from lightning.pytorch import Trainer  # noqa: PLC0415 (slow, and an extra)
        from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: PLC0415
    except ImportError:
        raise EnsemblesError(
            "training needs the package lightning, which is not installed; "
            "run: pip install 'ensembles[train]'"
        ) from None
    from ensembles.training.module import AtomicCheckpointIO, TrainingModule  # noqa: PLC0415

    module = TrainingModule(
        model.to(memory_format=torch.channels_last),
        plan.recipe,
        plan.epochs,
        train=plan.train,
        validation=plan.test and plan.test.limited(_VALIDATION_IMAGES),
        dropping=dropping_for(model, plan.model_name, plan.stochastic_depth, plan.paths_only),
        seed=plan.seed,
        settings=plan.settings,
        report=report,
    )
    with _quiet():
        trainer = Trainer(
            **options,
            max_epochs=plan.epochs,
            default_root_dir=plan.out,
            callbacks=[
                ModelCheckpoint(
                    plan.out,
                    "last",
                    save_top_k=1,
                    save_on_train_epoch_end=True,
                    enable_version_counter=False,
                )
            ],
            plugins=[AtomicCheckpointIO()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
        with _interruptible(trainer):
            trainer.fit(module, ckpt_path=state)
    return module


@contextmanager
def _interruptible(trainer: Any) -> Iterator[None]:
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
def _quiet() -> Iterator[None]:
    """Keep the trainer's own notes off the terminal; restored afterwards."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _export(
    plan: _Plan, model: nn.Module, history: list[dict[str, float]], precision: str, init: bool
) -> TrainingResult:
    weights, card = plan.file(".safetensors"), plan.file(".toml")
    initial = plan.file(".init.safetensors") if init else None
    measured = None if plan.test is None else measure(model, plan.test)
    _write_history(plan.out / "history.csv", history)
    write_card(card, _card(plan, save_weights(model, weights), measured, precision, initial))
    return TrainingResult(weights, card, initial, measured)


def _card(
    plan: _Plan,
    file: dict[str, Any],
    measured: Measured | None,
    precision: str,
    initial: Path | None,
) -> dict[str, Any]:
    known = architecture(plan.model_name)
    name = Path(plan.train.name).name
    card: dict[str, Any] = {
        "name": f"{plan.model_name.replace(':', '-')}-{name}",
        "architecture": plan.model_name,
        "library": known.library,
        "paper": known.paper,
        "dataset": name,
        "split": plan.train.split,
        "images": len(plan.train),
        "content_hash": plan.train.content_hash,
        "normalization": str(plan.train.normalization),
        "classes": list(plan.train.classes),
        "arguments": plan.arguments,
        "training": {
            "recipe": plan.recipe.name,
            "epochs": plan.epochs,
            "seed": plan.seed,
            "stochastic_depth": plan.stochastic_depth,
            "paths_only": plan.paths_only,
            "precision": precision,
            "torch": torch.__version__,
            "initial_weights": initial and initial.name,
        },
        "recipe": plan.recipe.hyperparameters() | {"epochs": plan.epochs},
        "file": file,
    }
    if measured is not None and plan.test is not None:
        card["measured"] = {
            "dataset": name,
            "split": plan.test.split,
            "content_hash": plan.test.content_hash,
            "correct": measured.correct,
            "total": measured.total,
            "error": round(measured.error, 4),
        }
    return card


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]) if history else ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
