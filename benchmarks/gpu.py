"""What a GPU does with sweeps of lesions, path spectra and training steps, as one table.

    python benchmarks/gpu.py --out results                 # everything, within --budget seconds
    python benchmarks/gpu.py --tiny                        # the same rows on tiny sizes, anywhere
    python benchmarks/gpu.py --rows equal,deletions        # some of the rows

Rows run in the order of their importance, each group in a time of its own; what does not fit the
budget is left out and said. The table is printed and written (`gpu.md`, `gpu.json`) row by row. A
row that fails says so, and the next one runs; a process that dies, or a device that is lost, costs
the rest of its group. A time is the median of the rounds, with the least and the most. Rates of
"sample" rows are extrapolated: the plain loop from some of its networks to all, the 4,647 lesions
from some images to 10,000. Without a file of the published lesions (`--plan`), as many are drawn of
each kind and size. Images are the digits over and over, for images of 224 pixels noise; the times
depend on neither.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from gpu_table import Row, Table, fill, run_until_done

SECONDS = {
    "equal": 30.0,
    "peaks": 10.0,
    "deletions": 110.0,
    "training": 40.0,
    "paths": 50.0,
    "small": 40.0,
    "published": 60.0,
    "large": 50.0,
    "compiled": 150.0,
}
"""The groups of rows, and the seconds after which each ends."""


def main(arguments: list[str] | None = None) -> list[Row]:
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for the table")
    parser.add_argument("--budget", type=float, default=420.0, help="seconds for all rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default=",".join(SECONDS), help=f"of {', '.join(SECONDS)}")
    parser.add_argument("--plan", help="file of the published lesions")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes; so it is without CUDA")
    parser.add_argument("--here", action="store_true", help="in this process, whatever befalls it")
    options = parser.parse_args(given)
    names = options.rows.split(",")
    if unknown := [name for name in names if name not in SECONDS]:
        parser.error(f"--rows: '{unknown[0]}'; expected {', '.join(SECONDS)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if options.here:
            return in_this_process(options, names, folder)
        (folder / "gpu.json").unlink(missing_ok=True)
        command = [sys.executable, __file__, *given, "--here", "--out", str(folder)]
        return run_until_done(command, names, folder, options.budget)


def in_this_process(options: argparse.Namespace, names: list[str], folder: Path) -> list[Row]:
    """Fill the table; what must not be imported twice in a cold start is imported here."""
    from gpu_bench import Bench
    from gpu_groups import GROUPS
    from machine import describe

    from ensembles.engine import choose_device, device_name

    device = choose_device(options.device)
    tiny = options.tiny or device.type != "cuda"
    said = f"{device_name(device)}; {describe()}{'; tiny sizes' if tiny else ''}"
    table = Table(said, folder)
    images = 16 if tiny else 10_000
    bench = Bench(device, tiny, 1 if tiny else options.rounds, options.plan, images)
    groups = {name: (partial(GROUPS[name], bench), SECONDS[name]) for name in names}
    fill(table, groups, options.budget, bench.still_works)
    return table.rows


if __name__ == "__main__":
    main()
