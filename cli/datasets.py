"""``ensembles datasets``: what data there is, and where it lies."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ensembles.cli.output import say
from ensembles.cli.tables import aligned

__all__ = ["datasets"]


@click.command("datasets")
@click.option(
    "--root",
    metavar="FOLDER",
    help="Where named data sets lie [default: $ENSEMBLES_DATA, or the user's cache folder].",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def datasets(root: str | None, as_json: bool) -> None:
    """List the data sets and texts known by name, their splits, and whether they are on disk.

    Any folder of images is data too: --dataset FOLDER with FOLDER/CLASS/IMAGE or
    FOLDER/SPLIT/CLASS/IMAGE. Texts are for language models; any file of text, a column of a table
    (--column), or a folder of these is one too.
    """
    from ensembles.data import known_datasets  # noqa: PLC0415 (imports torch)
    from ensembles.data.texts.embedded_texts import EMBEDDED  # noqa: PLC0415

    table = known_datasets(root)
    if as_json:
        listed = [
            {"name": name, "splits": ["train", "test"], "text": summary, "origin": "embedded"}
            for name, (_, _, summary) in EMBEDDED.items()
        ]
        say(json.dumps([*map(asdict, table), *listed], indent=2))
        return
    head, rows = ("name", "splits", "classes", "image", "on disk", "where"), []
    for entry in table:
        splits = ", ".join(f"{split} {size:,}" for split, size in entry.splits.items())
        here = ", ".join(entry.on_disk) or f"no ({entry.origin})"
        image = "x".join(map(str, entry.shape))
        rows.append((entry.name, splits, str(entry.classes), image, here, entry.location))
    say("\n".join(aligned(head, rows, whole=["name"])))
    texts = [
        (name, "train, test", f"{summary}, embedded") for name, (_, _, summary) in EMBEDDED.items()
    ]
    say("\n" + "\n".join(aligned(("text", "splits", "what it is"), texts)))
