"""`ensembles lesion`: what is left of a network when its blocks are deleted or moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ensembles.cli.options import (
    data_options,
    model_options,
    open_subject,
    output_options,
    run_options,
)

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.decomposition import Decomposition
    from ensembles.lesions import Lesion

__all__ = ["lesion"]

_TRIALS = 10


@dataclass(frozen=True)
class _Choice:
    """The lesions that the options ask for."""

    kind: str
    count: str
    trials: int | None
    seed: int
    blocks: str | None
    skip_transitions: bool
    plan: str | None


@click.command("lesion")
@model_options(several=True)
@data_options()
@click.option(
    "--kind", type=click.Choice(["delete", "reorder", "duplicate"]), default="delete",
    show_default=True, help="What is done to the blocks.",
)  # fmt: skip
@click.option(
    "--count", default="1", show_default=True, metavar="K|A-B",
    help="How many blocks at once (for reorder, how many exchanges). Deleting or duplicating 1 "
    "goes through every block; more are drawn at random.",
)  # fmt: skip
@click.option(
    "--trials", type=click.IntRange(min=1), metavar="N",
    help=f"Random draws for each count. [default: {_TRIALS}]",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random draws.")
@click.option("--blocks", metavar="LIST", help="Only these, such as 3,17 or 20-25. [default: all]")
@click.option("--skip-transitions", is_flag=True, help="Leave blocks that change the shape alone.")
@click.option(
    "--plan", type=click.Path(dir_okay=False), metavar="FILE.csv",
    help="Lesions from a table with the columns lesion and blocks, instead of --kind and --count.",
)  # fmt: skip
@run_options()
@click.option(
    "--engine", type=click.Choice(["shared", "direct"]), default="shared", show_default=True,
    help="direct runs each lesion whole: slow, for checking.",
)  # fmt: skip
@output_options("lesion.png")
def lesion(
    *,
    models: Sequence[str],
    checkpoints: Sequence[str],
    block_names: str | None,
    block_kinds: str | None,
    dataset: str | None,
    split: str,
    limit: int | None,
    normalize: str | None,
    image_size: int | None,
    kind: str,
    count: str,
    trials: int | None,
    seed: int,
    blocks: str | None,
    skip_transitions: bool,
    plan: str | None,
    batch_size: int | None,
    device: str,
    precision: str,
    engine: str,
    out: str | None,
    plot: str | None,
    as_json: bool,
) -> None:
    """Delete, reorder or duplicate blocks of a trained network, and measure its error.

    Alone, it deletes each of the 54 blocks of a ResNet-110 trained on handwritten digits. Every
    image is counted once, with running BatchNorm statistics; the first row is the intact network.
    """
    from ensembles.plots import FIGURES  # noqa: PLC0415
    from ensembles.results import check_writable  # noqa: PLC0415
    from ensembles.results.sweep import lesion as run  # noqa: PLC0415

    if out is not None:
        check_writable(out)
    if plot is not None:
        check_writable(plot, FIGURES)
    choice = _Choice(kind, count, trials, seed, blocks, skip_transitions, plan)
    frames = []
    for model, checkpoint in _pairs(models, checkpoints):
        subject = open_subject(
            model,
            checkpoint,
            dataset=dataset,
            split=split,
            limit=limit,
            normalize=normalize,
            image_size=image_size,
            device=device,
            block_names=block_names,
            block_kinds=block_kinds,
        )
        frames.append(
            run(
                subject.net,
                subject.data,
                _lesions(subject.net, choice),
                batch_size=batch_size,
                device=device,
                precision=precision,
                engine=engine,
                model=subject.card.name if len(set(models)) < len(models) else model,
            )
        )
    _deliver(frames, out, plot, as_json)


def _pairs(models: Sequence[str], checkpoints: Sequence[str]) -> list[tuple[str, str | None]]:
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


def _lesions(net: Decomposition, choice: _Choice) -> list[Lesion]:
    from ensembles.lesions import (  # noqa: PLC0415
        exchangeable,
        intact,
        parse_blocks,
        parse_counts,
        random_deletions,
        random_duplications,
        random_swaps,
        read_plan,
        single_deletions,
    )
    from ensembles.lesions import Lesion as One  # noqa: PLC0415

    n = len(net)
    if choice.plan is not None:
        return [intact(), *read_plan(choice.plan, n)]
    wanted = set(parse_blocks(choice.blocks, n)) if choice.blocks else set(range(1, n + 1))
    if choice.skip_transitions:
        wanted -= set(net.transitions)
    counts = parse_counts(choice.count)
    trials = choice.trials or _TRIALS
    skip = set(range(1, n + 1)) - wanted
    every = list(counts) == [1] and choice.trials is None
    if choice.kind == "reorder":
        shapes = [(block.in_shape, block.out_shape) for block in net]
        groups = [
            [index for index in group if index in wanted]
            for group in exchangeable(shapes, net.transitions)
        ]
        return [intact(), *random_swaps(groups, counts, trials, choice.seed)]
    if choice.kind == "duplicate":
        skip |= {block.index for block in net if block.in_shape != block.out_shape}
        if every:
            found = [One("duplicate", (b,)) for b in range(1, n + 1) if b not in skip]
        else:
            found = list(random_duplications(n, counts, trials, choice.seed, skip))
        return [intact(), *found]
    if every:
        return [intact(), *single_deletions(n, skip)]
    return [intact(), *random_deletions(n, counts, trials, choice.seed, skip)]


def _deliver(frames: list[pd.DataFrame], out: str | None, plot: str | None, as_json: bool) -> None:
    from ensembles.plots import plot_lesions  # noqa: PLC0415
    from ensembles.results import frame_to_json, write_frame  # noqa: PLC0415

    table = _stacked(frames)
    if out is not None:
        write_frame(table, out)
        click.echo(f"wrote {out}", err=True)
    if as_json:
        click.echo(frame_to_json(table))
    elif out is None:
        for line in _report(frames):
            click.echo(line)
    if plot is not None:
        plot_lesions(frames, plot)
        click.echo(f"wrote {plot}", err=True)
    for frame in frames:
        click.echo(_summary(frame), err=True)


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """One table; several networks are told apart by a first column."""
    import pandas as pd  # noqa: PLC0415

    if len(frames) == 1:
        return frames[0]
    parts = []
    for frame in frames:
        part = frame.copy()
        part.insert(0, "model", frame.attrs.get("model", ""))
        part.attrs = {}
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    table.attrs = {"networks": [dict(frame.attrs) for frame in frames]}
    return table


def _report(frames: list[pd.DataFrame]) -> list[str]:
    """The table that a person reads: error in %, with its 95 % Wilson interval."""
    from ensembles.statistics import error_intervals  # noqa: PLC0415

    rows: list[tuple[str, ...]] = []
    head = ("lesion", "blocks", "name", "correct", "total", "error %", "95 % interval", "loss")
    if len(frames) > 1:
        head = ("model", *head)
    if any((frame["lesion"] == "reorder").any() for frame in frames):
        head = (*head, "tau")
    for frame in frames:
        for row in error_intervals(frame).to_dict("records"):
            rows.append(_cells(row, head, frame.attrs.get("model", "")))
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    right = {"correct", "total", "error %", "loss", "tau"}
    return [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(row, widths, head, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


def _cells(row: dict[Any, Any], head: Sequence[str], model: str) -> tuple[str, ...]:
    low, high = 100 * row["error_low"], 100 * row["error_high"]
    finite = not row["nonfinite"]
    cells = {
        "model": model,
        "lesion": str(row["lesion"]),
        "blocks": str(row["blocks"]),
        "name": str(row["block_names"]) + (" (adapted)" if row["adapted"] else ""),
        "correct": str(row["correct"]),
        "total": str(row["total"]),
        "error %": f"{100 * row['error']:.2f}" if finite else "not finite",
        "95 % interval": f"{low:.2f} to {high:.2f}" if finite else "",
        "loss": f"{row['loss']:.4f}" if finite else "",
        "tau": f"{row['kendall_tau']:.3f}" if row["lesion"] == "reorder" else "",
    }
    return tuple(cells[name] for name in head)


def _summary(frame: pd.DataFrame) -> str:
    cut = frame[frame["lesion"] != "none"]
    whole = frame[frame["lesion"] == "none"]["error"]
    name = frame.attrs.get("model", "the network")
    if cut.empty:
        return f"{name}: intact error {100 * whole.iloc[0]:.2f} %, nothing was lesioned"
    worst = cut.loc[cut["error"].idxmax()] if cut["error"].notna().any() else cut.iloc[0]
    return (
        f"{name}: intact error {100 * whole.iloc[0]:.2f} %; {len(cut)} lesions, median error "
        f"{100 * cut['error'].median():.2f} %, worst {100 * worst['error']:.2f} % "
        f"({worst['lesion']} {worst['blocks']})"
    )
