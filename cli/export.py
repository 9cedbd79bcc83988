"""`ensembles export`: a lesioned network as a file, for other tools."""

from __future__ import annotations

from typing import Any

import click

from ensembles.cli.options import (
    data_options,
    device_option,
    materials_options,
    model_options,
    open_subject,
)
from ensembles.cli.settings import kind_options, settings_of

__all__ = ["export"]


@click.command("export")
@model_options()
@data_options()
@click.option(
    "--kind", default="delete", show_default=True, metavar="KIND",
    help="What is done to the blocks; `ensembles lesion --list` shows all kinds.",
)  # fmt: skip
@click.option(
    "--blocks", required=True, metavar="LIST",
    help="The blocks, all at once, such as 3,17; or the lesion as tables write it, such as "
    "'4 x0.5' or '5<-6'.",
)  # fmt: skip
@kind_options()
@click.option(
    "--recalibrated", type=click.IntRange(min=1), metavar="K",
    help="Measure BatchNorm statistics anew on K batches of reference data.",
)  # fmt: skip
@materials_options()
@device_option()
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False), metavar="FILE",
    help="The weights as .safetensors, or the network itself as .pt2 (torch.export).",
)  # fmt: skip
def export(
    *,
    model: str,
    checkpoint: str | None,
    kind: str,
    blocks: str,
    recalibrated: int | None,
    out: str,
    **given: Any,
) -> None:
    """Write a network with some of its blocks changed, for other tools.

    A .pt2 file holds a program from a batch of inputs to the logits, which torch.export.load reads
    without this package. A .safetensors file holds the weights of `net.lesioned(lesion)`.
    """
    from ensembles.checkpoints import check_export, write_network  # noqa: PLC0415
    from ensembles.text import read_lesion  # noqa: PLC0415

    check_export(out)
    lesion = read_lesion(kind, blocks, settings_of(kind, given))
    if recalibrated is not None:
        lesion = lesion.recalibrated(recalibrated)
    subject = open_subject(model, checkpoint, **given)
    path = write_network(subject, lesion, out)
    click.echo(f"wrote {path}: {lesion.kind} {lesion.text} of {subject.name}", err=True)
