"""Training a network by one call, and the files that it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ensembles.cards import Card, Measured, read_card, write_card
from ensembles.data import ImageDataset, Normalization
from ensembles.data.texts import TextDataset
from ensembles.engine import count_correct, device_name
from ensembles.errors import CheckpointError, OutputError, UsageError
from ensembles.files import atomic, home_expanded, refusals, remove_partial
from ensembles.training.card import card_of, history_text
from ensembles.training.lightning_trainer import interruptible, quiet, trainer_of
from ensembles.training.plan import Plan, trainer_options
from ensembles.training.recipes import Recipe, load_recipe
from ensembles.training.stochastic_depth import fold_survival
from ensembles.training.training_data import (
    AnyData,
    Data,
    arguments_for,
    is_language,
    open_data,
    open_texts,
)
from ensembles.weights import weights_of, write_weights

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from ensembles.training.module import TrainingModule

__all__ = ["TrainingResult", "train"]


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves.

    Attributes:
        weights: The final weights (safetensors).
        card: What they are (TOML).
        initial: The weights before the first step, if they were asked for.
        measured: Right answers on the test images, in float32; ``None`` without test images.
        leads: Whether this process wrote the files. Of several that train together one does, and
            it alone measures.
        observation: What one observation of the test data is called.
    """

    weights: Path
    card: Path
    initial: Path | None
    measured: Measured | None
    leads: bool = True
    observation: str = "image"


def train(
    model_name: str,
    dataset: Data = "digits",
    *,
    out: str | os.PathLike[str],
    recipe: str | Path | Recipe | None = None,
    epochs: int | None = None,
    stochastic_depth: float = 0.0,
    paths_only: int | None = None,
    seed: int = 0,
    resume: bool = False,
    init: bool | str | os.PathLike[str] = False,
    limit: int | None = None,
    start: tuple[torch.nn.Module, Card] | None = None,
    normalize: Normalization | str | None = None,
    device: str = "auto",
    devices: int = 1,
    precision: str = "auto",
    window: int | None = None,
    task: str | None = None,
    report: Callable[[str], None] | None = None,
    graphs: bool = True,
) -> TrainingResult:
    """Train a network and leave its weights with their card.

    Args:
        model_name: A name of ``list_models()``.
        dataset: A named data set or a folder with the splits ``train`` and ``test``; for a
            language model a text, by default ``prose``, each byte a token; or the two data sets
            themselves, the second of which may be ``None``.
        out: Folder for the state (``last.ckpt``), the weights (``MODEL.safetensors``), their card
            (``MODEL.toml``) and ``history.csv``; made if it is not there.
        recipe: Name or file of a recipe, or a recipe; by default ``short``, for language models
            ``language``.
        epochs: Number of epochs; otherwise the recipe's.
        stochastic_depth: Survival probability of the last block (Huang et al. 2016, linear decay);
            0 drops nothing.
        paths_only: Exactly so many blocks, drawn anew, are in the network in each step.
        seed: Seed of initial weights, order, augmentation and dropped blocks. One seed gives the
            same weights on one machine, interrupted or not.
        resume: Whether to go on from the state in ``out``, or start where there is none.
        init: Whether to keep the initial weights as ``MODEL.init.safetensors`` in ``out``, or the
            file to keep them in (safetensors). The card remembers its sha256.
        limit: At most so many training images, evenly spread.
        start: A trained network and its card, as ``ensembles.load`` gives them: its weights are
            the initial ones. The card of the result names it.
        normalize: A normalisation or its name; otherwise the data set's own, and for a folder mean
            and deviation of its training images.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        devices: Number of devices that share each batch.
        precision: ``fp32``, ``bf16`` (automatic mixed precision; parameters stay float32), or
            ``auto``: bf16 where the device computes in it.
        window: Tokens of a window of a text; by default as many as the model takes.
        task: ``classification`` or ``language``; by default what the model is for.
        report: Takes one line an epoch; otherwise nothing is reported.
        graphs: Whether a GPU replays whole steps from CUDA graphs, where they can be recorded.

    Returns:
        The files, and the error that was measured.

    Raises:
        UsageError: When an option cannot be meant, or does not fit the state in ``out``.
        ModelError: When there is no such network, or it does not take the images.
        DataError: When the data cannot be read.
        CheckpointError: When the state in ``out`` is damaged.
        EvaluationError: When the loss stops being finite.
        OutputError: When ``out`` cannot be written.
        KeyboardInterrupt: On Ctrl-C; the state of the last whole epoch stays in ``out``.
    """
    report = report or (lambda line: None)
    language = is_language(model_name, task)
    chosen = load_recipe(recipe or ("language" if language else "short"))
    if epochs is not None and epochs < 1:
        raise UsageError(f"{epochs} epochs; expected at least 1")
    options = trainer_options(device, devices, precision)
    training: AnyData
    test: AnyData | None
    if language:
        training, test = open_texts(model_name, dataset, limit, normalize, window)
    else:
        training, test = open_data(dataset, limit, normalize, window)
    plan = Plan(
        model_name=model_name,
        arguments=arguments_for(model_name, training),
        train=training,
        test=test,
        recipe=chosen,
        epochs=epochs or chosen.epochs,
        stochastic_depth=stochastic_depth,
        paths_only=paths_only,
        seed=seed,
        out=home_expanded(out),
        start=start,
    )
    with torch.random.fork_rng():
        return _run(
            plan,
            options,
            resume,
            _initial_file(plan, init),
            report,
            graphs=graphs,
        )


def _initial_file(plan: Plan, init: bool | str | os.PathLike[str]) -> Path | None:
    """Where the initial weights are kept; None for nowhere.

    Raises:
        UsageError: If the file has another ending, or is that of the trained weights.
    """
    if isinstance(init, bool):
        return plan.file(".init.safetensors") if init else None
    file = home_expanded(init)
    if file.suffix != ".safetensors":
        raise UsageError(f"initial weights {file}: expected a file that ends in .safetensors")
    if file.resolve() == plan.file(".safetensors").resolve():
        raise UsageError(f"initial weights {file}: the trained ones go there; name another file")
    return file


def _run(
    plan: Plan,
    options: dict[str, Any],
    resume: bool,
    initial: Path | None,
    report: Callable[[str], None],
    *,
    graphs: bool,
) -> TrainingResult:
    model, dropping = plan.build()
    going_on = _prepare_folder(plan, resume)
    if _leads():
        written = map(plan.file, (".safetensors", ".init.safetensors", ".toml"))
        for path in (plan.state, plan.history, *written, *([initial] if initial else [])):
            remove_partial(path)
    before = None
    if initial is not None and _leads():
        _, before = write_weights(weights_of(model), initial)
    if resume and _is_finished(plan):
        report(f"already trained: {plan.file('.safetensors')}")
        measured = _recorded(plan, before)
    else:
        trainer, module = trainer_of(plan, model, dropping, options, report, graphs=graphs)
        with quiet(), interruptible(trainer):
            trainer.fit(module, ckpt_path=plan.state if going_on else None)
        measured = _export(plan, trainer, module, before) if _leads() else None
    return TrainingResult(
        plan.file(".safetensors"),
        plan.file(".toml"),
        initial,
        measured,
        _leads(),
        "token" if isinstance(plan.train, TextDataset) else "image",
    )


def _leads() -> bool:
    """Whether this process writes the files, where several train together."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _prepare_folder(plan: Plan, resume: bool) -> bool:
    """Make the folder; say whether it holds a state to go on from, and that it fits."""
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
        if not plan.state.exists():
            return False
    except OSError as error:
        raise OutputError(
            f"cannot use the folder {plan.out}: {error.strerror}; choose another one"
        ) from None
    if not resume:
        raise UsageError(
            f"{plan.out} already holds a training; give --resume to go on, or another folder"
        )
    try:
        found = torch.load(plan.state, map_location="cpu", weights_only=True)
        settings = found["ensembles"]["settings"]
    except Exception as error:  # torch.load names no errors of its own
        raise CheckpointError(
            f"cannot read the state {plan.state} ({type(error).__name__}); remove it to start anew"
        ) from None
    wanted = plan.settings
    for key in {**wanted, **settings}:
        if settings.get(key) != wanted.get(key):
            raise UsageError(
                f"{plan.out} holds a training with {key} {settings.get(key)}, but "
                f"{wanted.get(key)} is asked for; give the same options, or another folder"
            )
    return True


def _is_finished(plan: Plan) -> bool:
    return plan.file(".safetensors").exists() and plan.file(".toml").exists()


def _recorded(plan: Plan, initial_sha256: str | None) -> Measured | None:
    """What the card of a finished training says about the test images.

    Args:
        plan: The training.
        initial_sha256: sha256 of the file of the initial weights, if one was written now: the card
            then remembers it.
    """
    card = read_card(plan.file(".toml"))
    if initial_sha256 is not None and _leads():
        training = {**card.training, "initial_sha256": initial_sha256}
        write_card(replace(card, training=training), plan.file(".toml"))
    return next(iter(card.measured), None)


def _export(
    plan: Plan, trainer: Trainer, module: TrainingModule, initial_sha256: str | None
) -> Measured | None:
    """Write history, weights and card, the card last: it says that all is there."""
    model = fold_survival(module.model.cpu(), module.dropping)
    measured = None if plan.test is None else _measured(model, plan.test)
    with refusals(f"history {plan.history}"), atomic(plan.history) as scratch:
        scratch.write_text(history_text(module.history), encoding="utf-8", newline="")
    path = plan.file(".safetensors")
    size, sha256 = write_weights(weights_of(model), path)
    place = device_name(trainer.strategy.root_device)  # the module is back on the CPU by now
    card = card_of(
        plan, measured, str(trainer.precision), place, initial_sha256, graphs=module.graphs
    )
    write_card(replace(card, file=path.name, size=size, sha256=sha256), plan.file(".toml"))
    return measured


def _measured(model: torch.nn.Module, test: ImageDataset | TextDataset) -> Measured:
    """The error in float32 on the CPU, as cards state it."""
    correct, total = count_correct(model, test)
    name = Path(test.name).name
    return Measured(name, test.split, correct, total, content_hash=test.content_hash)
