"""`ensembles inspect`: the blocks of a network, and how many paths they make."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ensembles.cli.options import asks_for_nested, model_of, model_options
from ensembles.cli.output import say
from ensembles.cli.tables import aligned

if TYPE_CHECKING:
    from ensembles.decomposition import Decomposition

__all__ = ["inspect"]

_HEAD = ["block", "name", "kind", "shortcut", "in", "out", "layers", "parameters"]
_WINDOW = 64
_BINS, _BAR, _TAIL = 20, 40, 0.0005


@click.command("inspect")
@model_options()
@click.option(
    "--image-size", type=int, metavar="PIXELS",
    help="Height and width of the images. [default: the architecture's own]",
)  # fmt: skip
@click.option(
    "--draw", type=click.Path(dir_okay=False), metavar="FILE",
    help="Draw the blocks with their shortcuts, as .png, .pdf or .svg.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def inspect(
    *,
    model: str | None,
    checkpoint: str | None,
    in_channels: int | None,
    weights: str | None,
    match: str,
    block_names: str | None,
    block_kinds: str | None,
    image_size: int | None,
    draw: str | None,
    as_json: bool,
) -> None:
    """Show the blocks of a network, the number of its paths, and how long they are.

    No weights are needed: an architecture is enough. Shortcuts are the identity, fixed (no
    parameters), scaled, a projection, or none; a star says that shortcut and branch begin after
    what they share (the first BatchNorm and ReLU of a pre-activation block). The branches of a
    block are those that meet at its end; `ensembles lesion --kind drop` leaves them out one by one.
    A step is one use of weights that several blocks share.
    """
    from ensembles.catalogue.structure import describe  # noqa: PLC0415

    if draw is not None:
        from ensembles.plots import FIGURES  # noqa: PLC0415 (matplotlib)
        from ensembles.writable import check_writable  # noqa: PLC0415

        check_writable(draw, FIGURES)
    model = model_of(model, checkpoint)
    how: dict[str, Any] = {"weights": weights, "match": match}
    if in_channels is not None:
        how["in_channels"] = in_channels
    net = _open(model, checkpoint, how, image_size=image_size, names=block_names, kinds=block_kinds)
    description = describe(net)
    if as_json:
        say(json.dumps(description, indent=2))
    else:
        for line in _lines(description):
            say(line)
    if draw is not None:
        from ensembles.plots import plot_structure  # noqa: PLC0415

        plot_structure(net, draw)
        say(f"wrote {draw}", err=True)


def _open(
    model: str,
    checkpoint: str | None,
    how: dict[str, Any],
    *,
    image_size: int | None,
    names: str | None,
    kinds: str | None,
) -> Decomposition:
    from ensembles.catalogue.structure import inspected  # noqa: PLC0415
    from ensembles.checkpoints import load  # noqa: PLC0415 (imports torch)
    from ensembles.checkpoints.hub import is_hub_name, longest_window  # noqa: PLC0415
    from ensembles.checkpoints.known_names import architecture_named, is_checkpoint  # noqa: PLC0415
    from ensembles.checkpoints.own_network import is_own  # noqa: PLC0415

    network, channels, window = None, how.get("in_channels"), None
    if is_hub_name(model):
        network, _ = load(model, checkpoint, **how)
        window = min(_WINDOW, longest_window(network) or _WINDOW)
    elif checkpoint is not None or is_own(model) or is_checkpoint(model):
        network, card = load(model, checkpoint, **how)
        model, stated = card.architecture, card.arguments.get("in_channels")
        channels = stated if isinstance(stated, int) else channels
    else:
        architecture_named(model)  # refuses in words that name checkpoints too
    wanted = kinds.split(",") if kinds is not None else None
    return inspected(
        model,
        network,
        image_size=image_size,
        channels=channels,
        blocks=names,
        kinds=wanted,
        nested=asks_for_nested(),
        window=window,
    )


def _lines(net: dict[str, Any]) -> Iterator[str]:
    shape = "x".join(map(str, net["input_shape"]))
    taken = f"images {shape}, {net['classes']} classes"
    if len(net["input_shape"]) == 1:
        taken = f"windows of {shape} tokens, {net['classes']:,} words"
    yield f"{net['model']}: {len(net['blocks'])} blocks, {net['parameters']:,} parameters, {taken}"
    shown = {title for block in net["blocks"] for title, text in _more(block).items() if text}
    extra = [title for title in _more(net["blocks"][0]) if title in shown]
    rows = [_cells(block) + [_more(block)[title] for title in extra] for block in net["blocks"]]
    yield from aligned([*_HEAD, *extra], rows, ("block", "layers", "parameters"))
    kinds = {block["kind"] for block in net["blocks"]}
    others = [f"{n} {kind}" for kind, n in net["found"].items() if kind not in kinds]
    if others:
        yield f"also found, not taken as blocks: {', '.join(others)} (--block-kinds takes them)"
    yield from _nesting(net)
    yield from _paths(net)


def _nesting(net: dict[str, Any]) -> Iterator[str]:
    """Where blocks were looked for, if that is more, or less, than the chain alone."""
    from ensembles.decomposition.summary import notes_of  # noqa: PLC0415

    if net["nested"] and net["on_chain"] == len(net["blocks"]):
        yield "some blocks read another tensor beside their input, such as a mask"
    elif net["nested"]:
        yield (
            "blocks were looked for beside and inside others; every path leads through "
            f"{net['on_chain'] or 'none'} of those with a shortcut (--chain leaves out the rest)"
        )
    yield from notes_of(net["uncut"], net["answer"])
    if net["inside"]:
        yield f"also found inside these blocks: {net['inside']} (--nested takes them too)"


def _cells(block: dict[str, Any]) -> list[str]:
    layers = str(block["weight_layers"])
    if block["shortcut_layers"]:
        layers += f" | {block['shortcut_layers']}"
    return [
        str(block["block"]),
        block["name"],
        block["kind"],
        block["shortcut"],
        "x".join(map(str, block["in_shape"])),
        "x".join(map(str, block["out_shape"])),
        layers,
        f"{block['parameters']:,}",
    ]


def _more(block: dict[str, Any]) -> dict[str, str]:
    """What only some networks have, by the title of its column."""
    names = (name.removeprefix(f"{block['name']}.") for name in block["roads"])
    return {
        "step": f"{block['step']} of {block['steps']}" if block["steps"] > 1 else "",
        "branches": ", ".join(f"{number} {name}" for number, name in enumerate(names, 1)),
        "when deleted": block["adapted"],
        "holds": ", ".join(map(str, block["holds"])),
    }


def _paths(net: dict[str, Any]) -> Iterator[str]:
    choices = max(net["lengths"])
    layers = list(net["graph_weight_layers"])
    total = sum(net["graph_weight_layers"].values())
    if choices:
        yield f"paths through the blocks: 2^{choices} = {_number(net['paths'])}"
        yield "  branches taken, and the share of all paths"
        yield from _histogram(net["lengths"])
    ends = " to ".join(map(str, dict.fromkeys((layers[0], layers[-1]))))
    yield (
        f"ways from the images to the logits, along every edge: {_number(total)}, "
        f"of {ends} weight layer{'' if ends == '1' else 's'}"
    )


def _number(count: int) -> str:
    """An integer; rounded where it is long."""
    digits = str(count)
    return f"{count:,}" if len(digits) <= 24 else f"{digits[0]}.{digits[1:4]}e{len(digits) - 1}"


def _histogram(lengths: dict[int, int]) -> Iterator[str]:
    """Lines for the lengths that have at least 0.05 % of the paths, at most twenty."""
    total = sum(lengths.values())
    shares = {k: number / total for k, number in lengths.items() if number / total >= _TAIL}
    first, last = min(shares), max(shares)
    step = -(-(last - first + 1) // _BINS)
    bins = {
        low: sum(shares.get(k, 0.0) for k in range(low, low + step))
        for low in range(first, last + 1, step)
    }
    width = len(f"{last}") * (1 if step == 1 else 2) + 1
    for low, share in bins.items():
        high = min(low + step - 1, last)
        name = str(low) if low == high else f"{low}-{high}"
        bar = "#" * round(_BAR * share / max(bins.values()))
        yield f"  {name:>{width}}  {100 * share:5.2f} %  {bar}".rstrip()
