"""`ensembles paths`: what all 2^n paths of a network carry, by their length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
    open_subjects,
    store_option,
)
from ensembles.cli.outputs import output_options
from ensembles.cli.results import check_outputs, deliver, named, plain_table, write_figure
from ensembles.cli.settings import setting_options
from ensembles.garbage import collection_paused

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["paths"]

_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


@click.command("paths")
@model_options(several=True)
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
    models: Sequence[str],
    checkpoints: Sequence[str],
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
    with collection_paused():  # torch takes a sixth less time
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
    check_outputs(out, plot, store, (*checkpoints, *models))
    subjects = open_subjects(models, checkpoints, device=device, **given)
    if wanted:
        found = [
            path_ranges(one.net, one.data, wanted, options=options, device=device, model=one.name)
            for one in subjects
        ]
        frames = named(found)
        deliver(frames, out, None, as_json, lines=_tables, notes=image_lines(subjects))
        return

    def measured(options: PathOptions) -> list[pd.DataFrame]:
        return named(
            [
                run(
                    one.net, one.data, options=options, device=device, model=one.name, store=store,
                    about=one.about,
                )
                for one in subjects
            ]
        )  # fmt: skip

    frames = measured(options)
    notes = [line for frame in frames for line in _notes(frame, len(frames) > 1)]
    deliver(
        frames, out, plot, as_json,
        draw=plot_paths, lines=_tables, notes=[*notes, *image_lines(subjects)],
    )  # fmt: skip
    if plot is not None and options.direction == "gradient":
        logits = measured(replace(options, direction="logits", at="input"))
        write_figure(plot_paths, logits, str(Path(plot).with_stem(f"{Path(plot).stem}-logits")))


def _range(text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise click.UsageError(f"--between {text}: expected two lengths, such as 2-8")
    return int(found[1]), int(found[2])


def plot_paths(frames: Sequence[pd.DataFrame]) -> Figure:
    """Draw the tables in one figure."""
    from ensembles.plots.paths import plot_paths as drawn  # noqa: PLC0415 (matplotlib)

    return drawn(frames)


def _tables(frames: Sequence[pd.DataFrame]) -> Iterator[str]:
    """Each network's table."""
    for frame in frames:
        if len(frames) > 1:
            yield str(frame.attrs["model"])
        yield plain_table(frame, PATHS.shown if "length" in frame.columns else ())


def _notes(frame: pd.DataFrame, several: bool) -> Iterator[str]:
    """The effective paths by each measure, and what else is to be known of a table."""
    from ensembles.analyses.cancellation import cancels  # noqa: PLC0415
    from ensembles.analyses.effective_paths import effective_paths  # noqa: PLC0415

    name = f"{frame.attrs['model']}: " if several else ""
    doubt = "; the interval has no meaning where lengths cancel" if cancels(frame) else ""
    for row in effective_paths(frame).to_dict("records"):
        yield f"{name}effective paths{_place(frame)}, {_effective(row)}{doubt}"
    for note in PATHS.notes(frame):
        yield f"{name}{note}"


def _place(frame: pd.DataFrame) -> str:
    """Which of a table's places or classes is described, where there are several."""
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
