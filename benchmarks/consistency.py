"""What decomposes: torchvision, timm, transformers, pytorchcv and vit-pytorch.

    python benchmarks/consistency.py --write

Each network gets random weights and is taken apart on a small batch; its parts must compute what it
computes. Then its first, middle and last block are deleted by both engines, whose logits must
agree, and what its paths carry to the logits is summed, where paths are defined. A worker examines
networks one after another on one thread, each step for a limited time of computing. `--write` puts
each row into the tables of docs/coverage.md as soon as it is there; rows run today, or since
another time (`--since`), stand, so that the same command goes on where it was interrupted. A
library that is not installed is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from examination import Row, Worker, examine, now
from named_networks import cheaply, of_pytorchcv, of_timm, of_torchvision
from small_networks import Network, of_torchvision_heads, of_vit_pytorch
from transformers_networks import of_transformers

__all__ = ["GROUPS", "Network", "cheaply", "examine", "rows_of"]

DOCS = Path(__file__).parent.parent / "docs" / "coverage.md"
COLUMNS = (
    "family", "network", "million parameters", "input", "blocks", "by definition", "transitions",
    "% of parameters inside", "deletions that agree", "error of the paths", "seconds", "run",
)  # fmt: skip


class Group(NamedTuple):
    """A table: the package that its networks come from, and these."""

    package: str
    networks: Callable[[], Iterator[Network]]


GROUPS = {
    "transformers": Group("transformers", of_transformers),
    "vit-pytorch": Group("vit-pytorch", of_vit_pytorch),
    "heads": Group("torchvision", of_torchvision_heads),
    "pytorchcv": Group("pytorchcv", of_pytorchcv),
    "torchvision": Group("torchvision", of_torchvision),
    "timm": Group("timm", of_timm),
}


def line(row: Row) -> str:
    """A row of a table in Markdown."""
    cells = (
        row.family, row.model, f"{row.parameters / 1e6:.1f}", row.input,
        f"**no**: {row.problem}" if row.problem else row.blocks,
        "" if row.definition is None else str(row.definition),
        str(row.transitions), f"{100 * row.inside:.0f}", row.deletions, row.paths,
        f"{row.seconds:.1f}", row.run,
    )  # fmt: skip
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _marks(group: str) -> tuple[str, str]:
    return f"<!-- {group}: begin -->\n", f"<!-- {group}: end -->"


def _lines(group: str) -> tuple[str, list[str], str]:
    """What stands before the rows of a table in the documentation, these, and the rest."""
    begin, end = _marks(group)
    before, _, rest = DOCS.read_text().partition(begin)
    table, _, after = rest.partition(end)
    rows = [one for one in table.splitlines() if one.startswith("| ") and "| --- |" not in one]
    return before + begin, rows[1:], end + after


def rows_of(group: str) -> list[list[str]]:
    """The cells of a table in the documentation."""
    return [[cell.strip() for cell in one[1:-1].split("|")] for one in _lines(group)[1]]


def write(group: str, row: str) -> None:
    """Put a row into its table, in the place of an older one of the same network."""
    before, lines, after = _lines(group)
    kept = {tuple(one.split(" | ")[:2]): one for one in [*lines, row]}
    package = GROUPS[group].package
    good = sum("**no**" not in one for one in kept.values())
    made = (
        f"{package} {version(package)} (torch {version('torch').partition('+')[0]}): {good} of "
        f"{len(kept)} networks decompose."
    )
    head = [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    body = "\n".join([*head, *sorted(kept.values())])
    DOCS.write_text(f"{before}{made}\n\n{body}\n{after}")


def main() -> None:
    """Run, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--group", choices=list(GROUPS), help="default: all that are installed")
    parser.add_argument("--models", nargs="*", help="only these, even if their rows stand")
    parser.add_argument(
        "--since", default=now()[:10], metavar="DATE",
        help="rows run since then stand (default: today): YYYY-MM-DD, or with HH:MM",
    )  # fmt: skip
    parser.add_argument("--limit", type=float, default=100.0, help="seconds for each step")
    parser.add_argument("--write", action="store_true", help="into docs/coverage.md")
    arguments = parser.parse_args()
    for name, group in GROUPS.items():
        if arguments.group not in (None, name) or not _is_there(group.package):
            continue
        standing = {tuple(c[:2]) for c in rows_of(name) if c[-1] >= arguments.since}
        worker = Worker([*group.networks()], arguments.limit)
        for place, network in enumerate(worker.networks):
            fresh = arguments.write and (network.family, network.name) in standing
            if network.name in arguments.models if arguments.models else not fresh:
                found = line(worker.examine(place))
                print(found, flush=True)
                if arguments.write:
                    write(name, found)
        worker.close()


def _is_there(package: str) -> bool:
    return find_spec(package.replace("-", "_")) is not None


if __name__ == "__main__":
    main()
