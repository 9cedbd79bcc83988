"""`ensembles paths`: what all 2^n paths of a network carry, by their length."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensembles.analyses.members.paths import MEMBER as PATHS
from ensembles.analyses.path_options import PathOptions
from ensembles.cli.options import (
    data_options,
    device_option,
    image_lines,
    model_options,
    open_subject,
    output_options,
    raw_cells,
    store_option,
)
from ensembles.cli.output import say
from ensembles.cli.results import check_outputs, plain_table
from ensembles.cli.settings import setting_options

if TYPE_CHECKING:
    import pandas as pd

    from ensembles.checkpoints import Subject

__all__ = ["paths"]

_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


@click.command("paths")
@model_options()
@data_options()
@setting_options(PathOptions.settings(), leave_out=("memory",))
@click.option(
    "--between", "ranges", multiple=True, metavar="A-B",
    help="Accuracy of all paths of A to B branches, instead of the table; may be repeated.",
)  # fmt: skip
@device_option()
@store_option()
@output_options("paths.png")
def paths(
    *,
    model: str,
    checkpoint: str | None,
    device: str,
    ranges: tuple[str, ...],
    store: str | None,
    out: str | None,
    plot: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure what all 2^n paths of a residual network carry, by their length.

    Alone, it measures the gradient of a ResNet-110 trained on handwritten digits: the sum over all
    paths of each length, exactly, and the norm of a single path. The sum over all lengths is
    checked against autograd. --plot draws figure 6 of the paper and the accuracy of short paths.
    """
    from ensembles.analyses.members.paths import path_ranges  # noqa: PLC0415
    from ensembles.analyses.members.paths import paths as run  # noqa: PLC0415

    wanted = [_range(text) for text in ranges]
    own = {one.name: given.pop(one.name) for one in PathOptions.settings() if one.name in given}
    options = PathOptions(**own | ({"direction": "logits"} if wanted else {}))
    options.check()
    if wanted and plot is not None:
        raise click.UsageError("--between gives a table without a figure; expected no --plot")
    if wanted and store is not None:
        raise click.UsageError("--between is not kept in a store; leave out one of the two")
    check_outputs(out, plot, store, (checkpoint, model))
    subject = open_subject(model, checkpoint, device=device, **given)
    if wanted:
        frame = path_ranges(
            subject.net, subject.data, wanted, options=options, device=device, model=model
        )
        _deliver(frame, out, as_json, None)
        say("\n".join(image_lines([subject])), err=True)
        return
    common: dict[str, Any] = {
        "device": device, "model": model, "store": store, "about": subject.about,
    }  # fmt: skip
    frame = run(subject.net, subject.data, options=options, **common)
    _deliver(frame, out, as_json, PATHS.shown)
    say("\n".join(image_lines([subject])), err=True)
    if plot is not None:
        _draw(subject, frame, options, common, plot)


def _range(text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise click.UsageError(f"--between {text}: expected two lengths, such as 2-8")
    return int(found[1]), int(found[2])


def _draw(
    subject: Subject, frame: pd.DataFrame, options: PathOptions, common: dict[str, Any], plot: str
) -> None:
    """Draw the table; with the gradients also the logits, in a file beside it."""
    from ensembles.analyses.members.paths import paths as run  # noqa: PLC0415
    from ensembles.plots.paths import plot_paths  # noqa: PLC0415

    plot_paths(frame, plot)
    say(f"wrote {plot}", err=True)
    if options.direction == "gradient":
        other = replace(options, direction="logits", at="input")
        logits = run(subject.net, subject.data, options=other, **common)
        beside = Path(plot).with_stem(f"{Path(plot).stem}-logits")
        plot_paths(logits, beside)
        say(f"wrote {beside}", err=True)


def _deliver(
    frame: pd.DataFrame, out: str | None, as_json: bool, shown: tuple[str, ...] | None
) -> None:
    from ensembles.analyses.effective_paths import effective_paths  # noqa: PLC0415
    from ensembles.analyses.members.paths import cancels  # noqa: PLC0415
    from ensembles.tables import frame_to_json, write_frame  # noqa: PLC0415

    if out is not None:
        write_frame(frame, out, raw=raw_cells())
        say(f"wrote {out}", err=True)
    if as_json:
        say(frame_to_json(frame))
    elif out is None:
        say(plain_table(frame, shown or ()))
    if shown is None:
        return
    doubt = "; the interval has no meaning where lengths cancel" if cancels(frame) else ""
    for row in effective_paths(frame).to_dict("records"):
        say(f"effective paths{_place(frame)}, {_effective(row)}{doubt}", err=True)
    for note in PATHS.notes(frame):
        say(note, err=True)


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
