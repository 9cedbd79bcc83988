"""``ensembles checkpoints``: trained networks, packaged, one's own, and public ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ensembles.cli.options import pixel_options, weights_options
from ensembles.cli.output import say
from ensembles.cli.tables import aligned

if TYPE_CHECKING:
    from ensembles.checkpoints import Card, Entry, Verdict

__all__ = ["checkpoints"]

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("checkpoints")
def checkpoints() -> None:
    """List, show, fetch, check, add and remove trained networks.

    Weights of torchvision and timm need no entry here: --model resnet50 takes them from their
    libraries.
    """


@checkpoints.command("list")
@click.option("--model", metavar="NAME", help="Only those of this architecture.")
@_AS_JSON
def list_(model: str | None, as_json: bool) -> None:
    """List what is there and what can be fetched."""
    from ensembles.checkpoints import list_checkpoints  # noqa: PLC0415 (imports torch)

    entries = list_checkpoints(model)
    if as_json:
        _print_json([_entry_dict(entry) for entry in entries])
        return
    head = ("name", "architecture", "trained on", "measured error", "where")
    cards = [(entry.card, _where(entry)) for entry in entries]
    rows = [(c.name, c.architecture, c.dataset, _error(c), where) for c, where in cards]
    say("\n".join(aligned(head, rows, whole=["name"])))


@checkpoints.command("show")
@click.argument("name")
@_AS_JSON
def show(name: str, as_json: bool) -> None:
    """Show the card of a checkpoint."""
    from ensembles.checkpoints import card_text, find  # noqa: PLC0415 (imports torch)

    entry = find(name)
    if as_json:
        _print_json(_entry_dict(entry))
        return
    say(card_text(entry.card), nl=False)
    say(f"\n# {_where(entry)}: {entry.path}")


@checkpoints.command("fetch")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_AS_JSON
def fetch(names: tuple[str, ...], as_json: bool) -> None:
    """Download public checkpoints, and check their sha256."""
    from ensembles.checkpoints import fetch as get  # noqa: PLC0415 (imports torch)

    paths = [get(name) for name in names]
    if as_json:
        _print_json({name: str(path) for name, path in zip(names, paths, strict=True)})
        return
    for path in paths:
        say(path)


@checkpoints.command("verify")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@_AS_JSON
@click.pass_context
def verify(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Check that checkpoints have their sha256 and load whole.

    Without names, all that are here.

    Exits with 1 when one is bad.
    """
    from ensembles.checkpoints import verify as check  # noqa: PLC0415 (imports torch)

    verdicts: list[Verdict] = check(names)
    if as_json:
        _print_json([asdict(verdict) for verdict in verdicts])
    else:
        shown = [v for v in verdicts if names or v.state != "not fetched"]
        rows = [(v.name, v.place, v.state, v.problem) for v in shown]
        say("\n".join(aligned(rows[0], rows[1:])) if rows else "nothing is here")
    context.exit(int(any(verdict.state == "bad" for verdict in verdicts)))


@checkpoints.command("add")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--name", required=True, help="For the checkpoint.")
@click.option("--model", required=True, metavar="NAME", help="Its architecture.")
@click.option(
    "--dataset", "datasets", required=True, multiple=True, metavar="NAME|FOLDER",
    help="To measure the error on; may be given several times.",
)  # fmt: skip
@click.option("--split", default="test", show_default=True, help="The part of the data.")
@click.option(
    "--normalize", metavar="NAME|MEAN/STD", help="imagenet, cifar10, ... [default: the file's card]"
)
@pixel_options()
@click.option("--limit", type=int, metavar="N", help="At most N images, spread evenly.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=250, show_default=True, metavar="N"
)
@weights_options()
@click.option("--half", is_flag=True, help="Write half precision, and measure what was written.")
@click.option("--store", metavar="FOLDER", help="Where it goes. [default: the user's store]")
@click.option("--source", default="", metavar="TEXT", help="Where the file comes from.")
@click.option("--licence", default="", metavar="TEXT", help="Under which it may be used.")
@click.option("--notes", default="", metavar="TEXT", help="Anything else.")
@_AS_JSON
def add(
    *,
    file: str,
    name: str,
    model: str,
    datasets: tuple[str, ...],
    split: str,
    normalize: str | None,
    limit: int | None,
    batch_size: int,
    weights: str | None,
    match: str,
    half: bool,
    store: str | None,
    source: str,
    licence: str,
    notes: str,
    as_json: bool,
    **images: Any,
) -> None:
    """Bring a file of weights into the store, with its error measured."""
    from ensembles.checkpoints import ImageChoice  # noqa: PLC0415 (imports torch)
    from ensembles.checkpoints import add as bring  # noqa: PLC0415

    card = bring(
        file,
        name,
        model,
        data=datasets,
        split=split,
        normalize=normalize,
        choice=ImageChoice(**images),
        limit=limit,
        batch_size=batch_size,
        half=half,
        weights=weights,
        match=match,
        folder=store,
        source=source,
        licence=licence,
        notes=notes,
    )
    if as_json:
        _print_json(asdict(card))
        return
    say(f"{card.name}: {_error(card)}")


@checkpoints.command("remove")
@click.argument("name")
@_AS_JSON
def remove(name: str, as_json: bool) -> None:
    """Delete a checkpoint of your own, or a fetched file."""
    from ensembles.checkpoints import remove as delete  # noqa: PLC0415 (imports torch)

    gone = [str(path) for path in delete(name)]
    if as_json:
        _print_json(gone)
        return
    say("\n".join(gone) or f"{name} has no file here")


def _entry_dict(entry: Entry) -> dict[str, Any]:
    return asdict(entry) | {"path": str(entry.path), "here": entry.here}


def _error(card: Card) -> str:
    """Every measured error with its count, in one line."""
    return ", ".join(
        f"{one.error:.2f} % ({one.total - one.correct:,} of {one.total:,} {one.dataset} {one.split}"
        + (f", by the {one.by})" if one.by else ")")
        for one in card.measured
    )


def _where(entry: Entry) -> str:
    if entry.place == "wheel":
        return "installed" if entry.here else "can be installed"
    if entry.place != "public":
        return entry.place if entry.here else f"{entry.place}, file missing"
    return "fetched" if entry.here else "can be fetched"


def _print_json(value: Any) -> None:
    say(json.dumps(value, indent=2, ensure_ascii=False))
