"""`ensembles export`: a lesioned network as a file, for other tools."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import click

from ensembles.cli.options import (
    data_options,
    device_option,
    materials_options,
    model_of,
    model_options,
    open_subject,
)
from ensembles.cli.output import say
from ensembles.cli.results import refuse_twins
from ensembles.cli.settings import kind_options, settings_of

if TYPE_CHECKING:
    from ensembles.lesions import Lesion

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
@click.option("--seed", type=int, metavar="S", help="Seed of kinds that have one of their own.")
@click.option(
    "--recalibrated", type=click.IntRange(min=1), metavar="K",
    help="Measure BatchNorm statistics anew on K batches of reference data.",
)  # fmt: skip
@materials_options()
@device_option()
@click.option(
    "--out", required=True, type=click.Path(), metavar="FILE",
    help="The weights as .safetensors, or the network itself as .pt2 (torch.export); for a model "
    "of Hugging Face also a folder that from_pretrained reads.",
)  # fmt: skip
def export(
    *,
    model: str | None,
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

    model = model_of(model, checkpoint)
    refuse_twins({"--out": out}, (checkpoint, model, given.get("initial")))
    check_export(out, model)
    settings = settings_of(kind, given)
    seed = given.pop("seed")
    lesion = _lesion(kind, blocks, settings if seed is None else {**settings, "seed": seed})
    if recalibrated is not None:
        lesion = lesion.recalibrated(recalibrated)
    subject = open_subject(model, checkpoint, **given)
    path = write_network(subject, lesion, out)
    say(f"wrote {path}: {lesion.kind} {lesion.text} of {subject.name}", err=True)


def _lesion(kind: str, text: str, settings: dict[str, Any]) -> Lesion:
    """One lesion of all the blocks that are named.

    Raises:
        LesionError: If the text names no lesion of this kind.
    """
    from ensembles.errors import LesionError  # noqa: PLC0415
    from ensembles.lesions import KINDS, parse_lesion  # noqa: PLC0415
    from ensembles.text import read_blocks  # noqa: PLC0415

    member: Any = KINDS.get(kind)
    if "seed" in settings and "seed" not in {one.name for one in fields(member)}:
        raise LesionError(f"{kind} has no seed of its own; leave out --seed")
    try:
        lesion = parse_lesion(kind, text.replace(",", " "))
    except LesionError:
        try:
            made: Lesion = member(read_blocks(text), **settings)
            return made
        except (LesionError, TypeError):
            pass
        raise
    return replace(lesion, **settings) if settings else lesion
