"""``ensembles train``: a network of one's own by one command."""

from __future__ import annotations

import click

from ensembles.cli.output import say

__all__ = ["train"]


@click.command("train")
@click.option(
    "--task",
    metavar="NAME",
    help="classification, or language: the next token of a text. [default: what the model is for]",
)
@click.option("--model", "model_name", required=True, metavar="NAME", help="The network.")
@click.option(
    "--dataset",
    default="digits",
    metavar="NAME|FOLDER",
    help="A named data set, or a folder with train/CLASS/IMAGE and test/CLASS/IMAGE; for a "
    "language model a text, or a folder with the parts train and test. [default: digits, prose]",
)
@click.option(
    "--out", required=True, metavar="FOLDER", help="For the state, the weights and their card."
)
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="paper, short, progressive, large-batch, digits, digits-adamw, language, or a TOML file "
    "with every hyper-parameter. [default: short, for language models language]",
)
@click.option(
    "--window", type=int, metavar="T", help="Tokens of a window of a text. [default: the model's]"
)
@click.option("--epochs", type=int, metavar="N", help="[default: the recipe's]")
@click.option(
    "--stochastic-depth",
    type=float,
    default=0.0,
    metavar="P",
    help="Survival probability of the last block (Huang et al. 2016); 0 drops nothing.",
)
@click.option(
    "--paths-only", type=int, metavar="K", help="Exactly K blocks, drawn anew for each batch."
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="S")
@click.option("--resume", is_flag=True, help="Go on from the last whole epoch in --out.")
@click.option(
    "--init",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[FILE]",
    help="Keep the weights before training too (.safetensors), which `ensembles lesion --kind "
    "reset` takes by --initial. [without FILE: MODEL.init.safetensors in --out]",
)
@click.option("--limit", type=int, metavar="N", help="At most N training images.")
@click.option(
    "--checkpoint",
    metavar="NAME|FILE",
    help="Trained weights to start from.  [default: drawn at random]",
)
@click.option(
    "--normalize",
    metavar="NAME|MEAN/STD",
    help="[default: the data set's own; a folder's training images are measured]",
)
@click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]|mps", help="Where."
)
@click.option(
    "--devices", type=int, default=1, show_default=True, metavar="N", help="How many share a batch."
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="auto: bf16 where the device computes in it.",
)
@click.pass_context
def train(
    context: click.Context,
    *,
    model_name: str,
    dataset: str,
    out: str,
    recipe: str | None,
    task: str | None,
    window: int | None,
    epochs: int | None,
    stochastic_depth: float,
    paths_only: int | None,
    seed: int,
    resume: bool,
    init: str | None,
    limit: int | None,
    checkpoint: str | None,
    normalize: str | None,
    device: str,
    devices: int,
    precision: str,
) -> None:
    """Train a network; leave its weights (safetensors) and a card that says what they are.

    Interrupted at any moment, the same command with --resume goes on from the last whole epoch.
    """
    from ensembles.checkpoints import load  # noqa: PLC0415 (imports torch)
    from ensembles.training import train as run  # noqa: PLC0415

    def report(line: str) -> None:
        say(line, err=True)

    try:
        result = run(
            model_name,
            dataset,
            out=out,
            recipe=recipe,
            epochs=epochs,
            stochastic_depth=stochastic_depth,
            paths_only=paths_only,
            seed=seed,
            resume=resume,
            init=False if init is None else init or True,
            limit=limit,
            start=None if checkpoint is None else load(model_name, checkpoint),
            normalize=normalize,
            device=device,
            devices=devices,
            precision=precision,
            task=task,
            window=window,
            report=report,
        )
    except KeyboardInterrupt:
        say(f"interrupted; the same command with --resume goes on from {out}", err=True)
        context.exit(130)
    if not result.leads:
        return
    if result.measured is not None:
        measured = result.measured
        say(
            f"error {measured.error:.2f} % ({measured.correct:,} of {measured.total:,} test "
            f"{result.observation}s right, fp32)"
        )
    for path in (result.weights, result.card, result.initial):
        if path is not None:
            say(path)
