"""What decomposes of transformers, pytorchcv, vit-pytorch and torchvision's video networks.

    python benchmarks/more_consistency.py --write [--group GROUP]

Each network gets random weights and is taken apart on two rows. Then its first, middle and last
block are deleted by both engines, whose outputs must agree; and what its paths carry to the logits
is summed, where paths are defined. `--write` puts each row into the table of docs/decomposition.md
as soon as it is there, in the place of the network's older one. A network has a limited time of
computing.
"""

from __future__ import annotations

import argparse
import signal
import warnings
from datetime import date
from importlib.metadata import version
from typing import Any

import torch
from consistency import DOCS
from more_networks import GROUPS, Network

from ensembles.decomposition import Decomposition, decompose
from ensembles.engine.direct import Direct
from ensembles.engine.materials import Materials
from ensembles.engine.shared import SharedPrefixes
from ensembles.errors import EnsemblesError
from ensembles.lesions import Delete
from ensembles.unravelling.linearization import require_paths
from ensembles.unravelling.measurement import measure_logits

COLUMNS = ("group", "network", "blocks", "by definition", "deletions", "error of the paths", "run")
BEGIN, END = "<!-- more: begin -->\n", "<!-- more: end -->"


def examine(group: str, network: Network) -> str:
    """A row of the table."""
    cells = [group, network.name]
    definition = "" if network.blocks is None else str(network.blocks)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = network.build()
        net = decompose(model, network.example)
        kinds = [block.kind for block in net]
        blocks = " + ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        deletions, paths = _deletions(net, network.example), _paths(net, network)
        return _line(*cells, blocks, definition, deletions, paths, str(date.today()))
    except EnsemblesError as error:
        reason = str(error)
    except Exception as error:  # the library's code runs here
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return _line(*cells, f"**no**: {reason}", definition, "", "", str(date.today()))


def _deletions(net: Decomposition, example: Any) -> str:
    """Whether both engines agree on deleting the first, a middle and the last block."""
    chosen = sorted({1, (len(net) + 1) // 2, len(net)})
    lesions = [Delete((index,)) for index in chosen if net.block(index).deletable]
    programs = [lesion.program(len(net)) for lesion in lesions]
    about = Materials(net), torch.device("cpu"), torch.float32
    with torch.no_grad():
        one, other = (
            dict(engine(net, programs, *about).run(example)) for engine in (Direct, SharedPrefixes)
        )
    agree = sum(
        torch.allclose(one[k], other[k], rtol=1e-4, atol=1e-4 * float(one[k].abs().max()))
        for k in one
    )
    return f"{agree} of {len(lesions)} agree"


def _paths(net: Decomposition, network: Network) -> str:
    """How far the logits of all paths are from the network's own."""
    try:
        require_paths(net)
        labels = torch.zeros(2, dtype=torch.long)
        return f"{measure_logits(net, [(network.example, labels)])[1]:.0e}"
    except EnsemblesError as error:
        return f"no: {str(error).partition(';')[0]}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def main() -> None:
    """Run, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--group", choices=list(GROUPS), help="default: all that are installed")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for a network")
    parser.add_argument("--write", action="store_true", help="into docs/decomposition.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {arguments.limit:g} s of computing")

    signal.signal(signal.SIGPROF, stop)
    for group, networks in GROUPS.items():
        if arguments.group in (None, group):
            for network in networks():
                signal.setitimer(signal.ITIMER_PROF, arguments.limit)
                row = examine(group, network)
                signal.setitimer(signal.ITIMER_PROF, 0)
                print(row, flush=True)
                if arguments.write:
                    _write(row)


def _write(row: str) -> None:
    """Put a row into the table, in the place of an older one of the same network."""
    before, _, rest = DOCS.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    older = [line for line in table.splitlines() if line.startswith("| ")][2:]
    rows = {tuple(line.split(" | ")[:2]): line for line in [*older, row]}
    order = [f"| {group}" for group in GROUPS]
    known = [*order, *dict.fromkeys(key[0] for key in rows if key[0] not in order)]
    lines = sorted(rows.items(), key=lambda one: known.index(one[0][0]))
    names = ("torchvision", "transformers", "pytorchcv", "vit-pytorch")
    made = ", ".join(f"{name} {version(name)}" for name in names if _is_there(name))
    made = f"{made} (torch {torch.__version__.partition('+')[0]})"
    head = [_line(*COLUMNS), "|" + " --- |" * len(COLUMNS)]
    body = "\n".join([*head, *(line for _, line in lines)])
    DOCS.write_text(f"{before}{BEGIN}{made}.\n\n{body}\n{END}{after}")


def _is_there(name: str) -> bool:
    return any(group.partition(" ")[0] == name for group in GROUPS)


if __name__ == "__main__":
    main()
