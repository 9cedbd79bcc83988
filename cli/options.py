"""Options that several commands share, and the subject that they describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ensembles.cli.completion import checkpoint_names, dataset_names, model_names
from ensembles.garbage import collection_paused

if TYPE_CHECKING:
    from ensembles.checkpoints import Subject

__all__ = [
    "DEFAULT_MODEL",
    "asks_for_nested",
    "average_option",
    "data_options",
    "device_option",
    "image_lines",
    "materials_options",
    "metrics_option",
    "model_of",
    "model_options",
    "open_average",
    "open_subject",
    "open_subjects",
    "pairs",
    "pixel_options",
    "run_options",
    "store_option",
    "task_option",
    "text_options",
    "together",
    "weights_options",
]

DEFAULT_MODEL = "resnet110"
_FORCE = "ensembles.force"
_NESTED = "ensembles.nested"
Command = TypeVar("Command", bound=Callable[..., Any])


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one, in their order."""

    def apply(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


def _remember(context: click.Context, option: click.Parameter, value: bool) -> None:
    context.meta[_FORCE] = value


def _note_nested(context: click.Context, option: click.Parameter, value: bool | None) -> None:
    context.meta[_NESTED] = value


def asks_for_nested() -> bool | None:
    """Whether blocks are looked for inside others; None where nothing is said."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(_NESTED)


def model_options(*, several: bool = False) -> Callable[[Command], Command]:
    """Which network, and which parts of it are its blocks."""
    again = " Repeat it to compare networks." if several else ""
    return together(
        click.option(
            "--model", "models" if several else "model", metavar="NAME", multiple=several,
            shell_complete=model_names,
            help="An architecture of `ensembles models`; hf:FOLDER, hf:FILE.gguf or hf:OWNER/NAME "
            "for a model of Hugging Face; smollm2-135m; or a network of your own, as "
            "FILE.py:FUNCTION, FILE.py:FUNCTION(depth=20) or PACKAGE.MODULE:FUNCTION: the code of "
            f"that file or module is run, with your rights.{again} "
            f"[default: that of the checkpoint's card, else {DEFAULT_MODEL}]",
        ),
        click.option(
            "--checkpoint", "checkpoints" if several else "checkpoint", metavar="NAME|FILE",
            multiple=several, shell_complete=checkpoint_names,
            help="Trained weights: a name of `ensembles checkpoints list`, or a file; or random, "
            "random:SEED, for an untrained control. [default: the packaged ones of the model]",
        ),
        click.option(
            "--in-channels", type=click.IntRange(min=1), metavar="N",
            help="Channels of the images, for weights that are random or have no card, and for a "
            "function of your own that takes in_channels.",
        ),
        weights_options(),
        click.option(
            "--block-names", metavar="REGEX",
            help="Take the modules with matching names as the blocks. [default: they are found]",
        ),
        click.option(
            "--block-kinds", metavar="KIND,...",
            help="Take blocks of these kinds: residual, gated, two-stream, dense; or parallel, "
            "fractal; or plain. [default: the first of these groups that the network has]",
        ),
        click.option(
            "--nested/--chain", "nested", default=None, expose_value=False, callback=_note_nested,
            help="Look for blocks inside others too, or take those alone through which every path "
            "leads. [default: inside others where there are few for what they hold]",
        ),
    )  # fmt: skip


def average_option() -> Callable[[Command], Command]:
    """Several networks as one."""
    return click.option(
        "--average", is_flag=True,
        help="Take the average of all these networks for one, whose blocks are its members.",
    )  # fmt: skip


def weights_options() -> Callable[[Command], Command]:
    """Which tensors of a file are the weights."""
    return together(
        click.option(
            "--weights", metavar="raw|ema|NAME",
            help="Which weights of a file that holds several: raw, averaged over training, or "
            "those under a name in it. [default: raw]",
        ),
        click.option(
            "--match", type=click.Choice(["names", "order"]), default="names", show_default=True,
            help="order takes the weights of a file under foreign names where their number, order "
            "and shapes are the model's.",
        ),
    )  # fmt: skip


def data_options() -> Callable[[Command], Command]:
    """Which images, and how they are normalised."""
    return together(
        click.option(
            "--dataset", metavar="NAME|FOLDER", shell_complete=dataset_names,
            help="A name of `ensembles datasets`, or a folder of images; for a language model "
            "prose, docstrings, or a file or folder of text. [default: what the checkpoint was "
            "measured on, else digits; for a language model prose]",
        ),
        click.option("--split", default="test", show_default=True, help="The part of the data."),
        click.option(
            "--limit", type=int, metavar="N", help="At most N images or windows, spread evenly."
        ),
        click.option(
            "--normalize", metavar="NAME|MEAN/STD",
            help="imagenet, cifar10, ..., none, or m,m,m/s,s,s. [default: the checkpoint's]",
        ),
        pixel_options(),
        text_options(),
        click.option(
            "--classes", metavar="FILE|text|numbers",
            help="Which number each class folder or name has: a file with a name in each line, or "
            "with names and numbers; or their places sorted as text; or the names are numbers. "
            "[default: ImageNet's for WordNet names, else the places of the network's names, else "
            "the places among the sorted names]",
        ),
        click.option(
            "--labels", metavar="FILE|COLUMN",
            help="Where the labels stand: a file of names and labels (FILE:COLUMN for one of "
            "several), the column of a table of images or texts, the ending of WebDataset. "
            "[default: the usual ones]",
        ),
        click.option(
            "--force", is_flag=True, expose_value=False, callback=_remember,
            help="Go on without comparing the classes with those of the images, and the intact "
            "error with the checkpoint's card.",
        ),
    )  # fmt: skip


def text_options() -> Callable[[Command], Command]:
    """How a text is cut into windows of tokens."""
    return together(
        click.option(
            "--window", type=int, metavar="T",
            help="Tokens of a window of a text. [default: as many as the model was trained on, or "
            "at most 256]",
        ),
        click.option(
            "--stride", type=int, metavar="N",
            help="Tokens from a window to the next. [default: one after the other]",
        ),
        click.option(
            "--front", metavar="TOKEN",
            help="A token to put in front of each window, as text or as its id. [default: none]",
        ),
        click.option(
            "--column", metavar="NAME",
            help="The column of a .csv, .jsonl, .parquet or .arrow file that holds the text. "
            "[default: text]",
        ),
        click.option(
            "--masked", type=float, metavar="SHARE",
            help="The share of the tokens of a window that are masked and predicted, for a masked "
            "language model. [default: 0.15]",
        ),
        click.option(
            "--mask-seed", type=int, metavar="S", help="Seed of their draws. [default: 0]"
        ),
    )  # fmt: skip


def pixel_options() -> Callable[[Command], Command]:
    """What is done to images before they are normalised."""
    record = "[default: as the checkpoint's record says"
    return together(
        click.option(
            "--image-size", metavar="PIXELS",
            help="Resize the shorter side of images to this and cut out the middle square; or two "
            f"sides, 256,224: resized, cut. {record}, else images as they are]",
        ),
        click.option(
            "--resize", metavar="SIDE|HxW|none",
            help=f"Resize images: the shorter side, but for other crop modes. {record}]",
        ),
        click.option(
            "--crop", metavar="SIDE|HxW|none", help=f"Cut out the middle. {record}]",
        ),
        click.option(
            "--interpolation", metavar="NAME",
            help=f"nearest, bilinear, bicubic, box, hamming or lanczos. {record}, else bilinear]",
        ),
        click.option(
            "--crop-mode", metavar="NAME",
            help="center keeps proportions, squash does not, border fits the whole image in. "
            f"{record}, else center]",
        ),
        click.option(
            "--colours", metavar="NAME", help=f"rgb, bgr (blue first) or grey. {record}, else rgb]",
        ),
        click.option(
            "--test-size", is_flag=True,
            help="Take the size that the checkpoint's record names for testing, where it differs "
            "from that of the training.",
        ),
    )  # fmt: skip


def device_option() -> Callable[[Command], Command]:
    """Where to compute."""
    return click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda[:i] or mps."
    )


def run_options() -> Callable[[Command], Command]:
    """Where and how precisely to compute."""
    return together(
        click.option(
            "--batch-size", type=click.IntRange(min=1), metavar="N",
            help="Rows at a time; halved when memory runs out. [default: by the device]",
        ),
        device_option(),
        click.option(
            "--precision", type=click.Choice(["fp32", "tf32", "bf16"]), default="fp32",
            show_default=True, help="tf32 needs CUDA.",
        ),
    )  # fmt: skip


def task_option() -> Callable[[Command], Command]:
    """What is asked of the network."""
    return click.option(
        "--task", metavar="NAME",
        help="What is asked of the network: classification, language or masked. [default: what its "
        "shapes say]",
    )  # fmt: skip


def metrics_option() -> Callable[[Command], Command]:
    """What is measured of the network's answers."""
    return click.option(
        "--metrics", default="top1,loss", show_default=True, metavar="LIST",
        help="What is measured, all in one pass: top1, loss, top5, kl, agreement, margin, brier, "
        "ece, classes, confusion, perplexity, and those of installed packages.",
    )  # fmt: skip


def materials_options() -> Callable[[Command], Command]:
    """What some lesions need beside the network."""
    return together(
        click.option(
            "--reference", metavar="NAME|FOLDER",
            help="Data for means and BatchNorm statistics, of which the split train is taken. "
            "[default: the training split of the same data set]",
        ),
        click.option(
            "--initial", type=click.Path(dir_okay=False), metavar="FILE",
            help="The weights as they were before training, as `ensembles train --init` writes "
            "them. [default: MODEL.init.safetensors beside the checkpoint's file]",
        ),
    )  # fmt: skip


def store_option() -> Callable[[Command], Command]:
    """Where results are kept."""
    return click.option(
        "--store", type=click.Path(dir_okay=False), metavar="FILE",
        help="Keep results in this file, and take from it what is there; several processes may "
        "share it.",
    )  # fmt: skip


def open_subject(model: str | None, checkpoint: str | None, **options: Any) -> Subject:
    """Load a network and its data as the options say, and take the network apart.

    Without ``--force``, the intact network's error is held against its card's first.
    """
    from ensembles.checkpoints import open_subject as opened  # noqa: PLC0415 (torch)

    model = model_of(model, checkpoint)
    return opened(model, checkpoint, check=_checks(), nested=asks_for_nested(), **options)


def image_lines(subjects: Sequence[Subject]) -> list[str]:
    """What was done to images and labels of each network, and who says so; once where alike."""
    told = [[line for line in (one.images, one.labels) if line] for one in subjects]
    if all(lines == told[0] for lines in told):
        return told[0]
    return [
        f"{one.name}: {line}" for one, lines in zip(subjects, told, strict=True) for line in lines
    ]


@collection_paused()
def open_subjects(
    models: Sequence[str], checkpoints: Sequence[str], **options: Any
) -> list[Subject]:
    """Open several networks; those of one architecture are called by their checkpoints.

    Raises:
        UsageError: If the checkpoints cannot be shared out among the models.
    """
    subjects = [open_subject(model, file, **options) for model, file in pairs(models, checkpoints)]
    names = [subject.name for subject in subjects]
    if len(set(names)) == len(names):
        return subjects
    return [replace(subject, name=subject.card.name) for subject in subjects]


def pairs(models: Sequence[str], checkpoints: Sequence[str]) -> list[tuple[str, str | None]]:
    """Each model with its checkpoint.

    Raises:
        UsageError: If their numbers do not go together.
    """
    if not models:
        return [(model_of(None, one), one) for one in checkpoints or (None,)]
    if not checkpoints:
        return [(model, None) for model in models]
    if len(models) == 1:
        return [(models[0], checkpoint) for checkpoint in checkpoints]
    if len(models) != len(checkpoints):
        raise click.UsageError(
            f"{len(models)} models and {len(checkpoints)} checkpoints; "
            "give one checkpoint for each model, or none"
        )
    return list(zip(models, checkpoints, strict=True))


def model_of(model: str | None, checkpoint: str | None) -> str:
    """The model that is meant: as named, else as the checkpoint's card says, else the usual one.

    Raises:
        UsageError: If the checkpoint has no card.
    """
    from ensembles.checkpoints import architecture_of  # noqa: PLC0415 (torch)
    from ensembles.checkpoints.random_weights import random_seed  # noqa: PLC0415

    if model is not None:
        return model
    if checkpoint is None or random_seed(checkpoint) is not None:
        return DEFAULT_MODEL
    return architecture_of(checkpoint)


def open_average(members: Sequence[tuple[str, str | None]], **options: Any) -> Subject:
    """Load several networks as :func:`open_subject` does, and take their average apart."""
    from ensembles.checkpoints import open_average as opened  # noqa: PLC0415 (torch)

    return opened(members, check=_checks(), **options)


def _checks() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and not context.meta.get(_FORCE, True)
