"""`ensembles paths`: what all 2^n paths of a network carry, by their length."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensembles.cli.options import (
    data_options,
    model_options,
    open_subject,
    output_options,
    store_option,
)

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.checkpoints import Subject

__all__ = ["paths"]

_SHOWN = {
    "gradient": ("at", "length", "paths", "gradient_coherent", "gradient_rms", "gradient_rms_se",
                 "gradient_mean", "gradient_mean_low", "gradient_mean_high"),
    "logits": ("class", "length", "paths", "logit_norm", "accuracy_up_to", "accuracy_from",
               "accuracy_alone"),
}  # fmt: skip
_RANGE = re.compile(r"([0-9]+)-([0-9]+)")


@click.command("paths")
@model_options()
@data_options()
@click.option(
    "--method", type=click.Choice(["exact", "sampled", "all"]), default="exact", show_default=True,
    help="exact: all 2^n paths; sampled: the published protocol; all: both.",
)  # fmt: skip
@click.option(
    "--direction", type=click.Choice(["gradient", "logits"]), default="gradient",
    show_default=True, help="What the paths carry.",
)  # fmt: skip
@click.option(
    "--signs", type=int, default=16, show_default=True, metavar="R",
    help="Draws of random signs for each image on average, for the RMS norm of a single path; "
    "0 for none.",
)  # fmt: skip
@click.option(
    "--samples", type=int, default=1000, show_default=True, metavar="N",
    help="Drawn paths of each length, over all images together.",
)  # fmt: skip
@click.option(
    "--sampling", type=click.Choice(["uniform", "weighted"]), default="uniform", show_default=True,
    help="weighted: prefer blocks that carry more, and correct for it.",
)  # fmt: skip
@click.option(
    "--images", type=int, metavar="N",
    help="Images, spread evenly. [default: 8 for gradients, 128 for logits]",
)  # fmt: skip
@click.option(
    "--at", default="input", show_default=True, metavar="PLACE",
    help="Where the gradient arrives: input, first, blocks, 'block 3', 'parameters 3'.",
)  # fmt: skip
@click.option("--per-class", is_flag=True, help="Logits: rows for the images of each class too.")
@click.option(
    "--between", "ranges", multiple=True, metavar="A-B",
    help="Accuracy of all paths of A to B branches, instead of the table; may be repeated.",
)  # fmt: skip
@click.option(
    "--statistics", type=click.Choice(["running", "batch"]), default="running", show_default=True,
    help="Which statistics BatchNorm uses.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random draws.")
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda[:i] or mps."
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(["fp32", "fp64"]), default="fp32", show_default=True,
    help="Of the computation.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["fast", "general"]), default="fast", show_default=True,
    help="general differentiates every part by torch.func: slow, for checking.",
)  # fmt: skip
@store_option()
@output_options("paths.png")
def paths(
    *,
    model: str,
    checkpoint: str | None,
    block_names: str | None,
    block_kinds: str | None,
    dataset: str | None,
    split: str,
    limit: int | None,
    normalize: str | None,
    image_size: int | None,
    device: str,
    direction: str,
    ranges: tuple[str, ...],
    store: str | None,
    out: str | None,
    plot: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure what all 2^n paths of a residual network carry, by their length.

    Alone, it measures the gradient of a ResNet-110 trained on handwritten digits: the sum over all
    paths of each length, exactly, and the norm of a single path. The sum over all lengths is
    checked against autograd. --plot draws figure 6 of the paper and the accuracy of short paths.
    """
    from ensembles.analyses.paths import PathOptions, path_ranges  # noqa: PLC0415
    from ensembles.analyses.paths import paths as run  # noqa: PLC0415
    from ensembles.plots import FIGURES  # noqa: PLC0415
    from ensembles.store import Store  # noqa: PLC0415
    from ensembles.tables import check_writable  # noqa: PLC0415

    wanted = [_range(text) for text in ranges]
    direction = "logits" if wanted else direction
    PathOptions(direction=direction, **options).check()
    if wanted and plot is not None:
        raise click.UsageError("--between gives a table without a figure; expected no --plot")
    if wanted and store is not None:
        raise click.UsageError("--between is not kept in a store; leave out one of the two")
    if out is not None:
        check_writable(out)
    if plot is not None:
        check_writable(plot, FIGURES)
    if store is not None:
        Store(store).close()
    subject = open_subject(
        model, checkpoint, dataset=dataset, split=split, limit=limit, normalize=normalize,
        image_size=image_size, device=device, block_names=block_names, block_kinds=block_kinds,
    )  # fmt: skip
    common: dict[str, Any] = {"device": device, "model": model, **options}
    if wanted:
        common.pop("method")
        _deliver(path_ranges(subject.net, subject.data, wanted, **common), out, as_json, None)
        return
    common |= {"store": store, "about": subject.about}
    frame = run(subject.net, subject.data, **{**common, "direction": direction})
    _deliver(frame, out, as_json, _SHOWN[direction])
    if plot is not None:
        _draw(subject, frame, direction, common, plot)


def _range(text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise click.UsageError(f"--between {text}: expected two lengths, such as 2-8")
    return int(found[1]), int(found[2])


def _draw(
    subject: Subject, frame: pd.DataFrame, direction: str, common: dict[str, Any], plot: str
) -> None:
    """Draw the table; with the gradients also the logits, in a file beside it."""
    from ensembles.analyses.paths import paths as run  # noqa: PLC0415
    from ensembles.plots.paths import plot_paths  # noqa: PLC0415

    plot_paths(frame, plot)
    click.echo(f"wrote {plot}", err=True)
    if direction == "gradient":
        logits = run(subject.net, subject.data, **{**common, "direction": "logits", "at": "input"})
        beside = Path(plot).with_stem(f"{Path(plot).stem}-logits")
        plot_paths(logits, beside)
        click.echo(f"wrote {beside}", err=True)


def _deliver(
    frame: pd.DataFrame, out: str | None, as_json: bool, shown: tuple[str, ...] | None
) -> None:
    from ensembles.analyses.effective_paths import effective_paths  # noqa: PLC0415
    from ensembles.analyses.path_notes import path_notes  # noqa: PLC0415
    from ensembles.tables import frame_to_json, write_frame  # noqa: PLC0415

    if out is not None:
        write_frame(frame, out)
        click.echo(f"wrote {out}", err=True)
    if as_json:
        click.echo(frame_to_json(frame))
    elif out is None:
        columns = list(shown or frame.columns)
        kept = [name for name in columns if not frame[name].isna().all()]
        click.echo(frame[kept].to_string(index=False, float_format=lambda x: f"{x:.4g}"))
    if shown is None:
        return
    for row in effective_paths(frame).to_dict("records"):
        click.echo(f"effective paths{_place(frame)}, {_effective(row)}", err=True)
    for note in path_notes(frame):
        click.echo(note, err=True)
    if frame.attrs["sum_error"] is not None:
        click.echo(
            f"the sum over all lengths differs by {frame.attrs['sum_error']:.1e} (relative) from "
            "the network's own",
            err=True,
        )


def _place(frame: pd.DataFrame) -> str:
    """Which of a table's places or classes is told of, where there are several."""
    column = "at" if "at" in frame.columns else "class"
    several = frame[column].nunique() > 1
    return f" ({frame[column].iloc[0]})" if several else ""


def _effective(row: dict[Any, Any]) -> str:
    """One measure's effective paths in words."""
    text = (
        f"{row['measure']}: {100 * row['held']:.1f} % in lengths {row['first']} to {row['last']}, "
        f"median {row['median']}"
    )
    if isinstance(row.get("layers_first"), int):
        text += (
            f" (weight layers {row['layers_first']} to {row['layers_last']}, median "
            f"{row['layers_median']})"
        )
    return text + f", {100 * row['share']:.3g} % of all paths ({row['what']})"
