"""Count blocks and paths of every architecture of the literature, for `ensembles models` to list.

    python benchmarks/architectures.py [NAME ...]

Each network is taken apart at its full size, with random weights. Without names those are counted
that the file lacks; the rows of names are replaced. It needs timm.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from ensembles.catalogue.architectures import count_structure
from ensembles.files import atomic
from ensembles.models import field_models, list_models

FILE = Path(__file__).parent.parent / "ensembles" / "catalogue" / "architectures.json"


def main(chosen: list[str]) -> None:
    """Count, and write after each network, so that an interruption loses nothing."""
    names = [*field_models(), *list_models(task="language")]
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for name in chosen or [name for name in names if name not in kept]:
        start = time.process_time()
        kept[name] = asdict(count_structure(name))
        print(f"{name}: {time.process_time() - start:.1f} s", file=sys.stderr, flush=True)
        ordered = {known: kept[known] for known in names if known in kept}
        lines = [f"{json.dumps(known)}: {json.dumps(row)}" for known, row in ordered.items()]
        with atomic(FILE) as scratch:
            scratch.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
