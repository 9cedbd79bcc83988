"""``ensembles models``: the architectures that can be built by name."""

from __future__ import annotations

import json

import click

__all__ = ["models"]


@click.command("models")
@click.argument("text", required=False)
@click.option(
    "--library",
    type=click.Choice(["ensembles", "torchvision", "timm"]),
    help="Only those of this library.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(text: str | None, library: str | None, as_json: bool) -> None:
    """List the architectures whose name holds TEXT: our own, torchvision's, and timm's.

    timm's are there when the extra ensembles[timm] is installed. A name with its library in front
    (timm:resnet50) is taken from that one.
    """
    from ensembles.models import list_models  # noqa: PLC0415 (imports torch)

    names = [name for name in list_models(library) if text is None or text in name]
    if as_json:
        click.echo(json.dumps(names, indent=2))
        return
    for name in names:
        click.echo(name)
