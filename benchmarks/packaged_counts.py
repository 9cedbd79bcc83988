"""The count that each packaged card states, measured again on the images that it names.

    ENSEMBLES_ASSETS=FOLDER python benchmarks/packaged_counts.py

`tests/test_checkpoints_packaged.py` does this for the digits and for the shallow CIFAR-10 networks;
here the networks of 110 layers are counted too, on the 2,000 original images. Minutes on one core.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

import torch
from machine import describe, parser

import ensembles
from ensembles.checkpoints import list_checkpoints
from ensembles.engine import count_correct


def main() -> None:
    chosen = parser(__doc__ or "").parse_args()
    torch.set_num_threads(chosen.threads)
    print(describe())
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(
            Path(os.environ["ENSEMBLES_ASSETS"]) / "data" / "cifar10-original-val.tar.xz"
        ) as archive:
            archive.extractall(folder, filter="data")
        for card in (one.card for one in list_checkpoints() if one.place == "packaged"):
            name = "digits" if card.dataset == "digits" else folder
            data = ensembles.dataset(name, normalize=card.normalization)
            stated = next(one for one in card.measured if one.content_hash == data.content_hash)
            model, _ = ensembles.load(card.name)
            found = count_correct(model, data)
            print(f"{card.name}: {found[0]} of {found[1]} right; its card says {stated.correct}")
            wrong += [card.name] if found != (stated.correct, stated.total) else []
    if wrong:
        raise SystemExit(f"{', '.join(wrong)}: other counts than their cards state")


if __name__ == "__main__":
    main()
