"""Sub-networks of one network beside networks of equal size that were trained apart.

    ensembles family --parameters 25k --depths 8,14,20,32,56 --families preresnet --dataset digits \
        --seeds 3 --out FOLDER
    python benchmarks/diversity_members.py FOLDER

All residual networks that are trained in the folder are the members of one average; they have the
same number of parameters within 2 %. Against them stand random sub-networks of the deepest one, on
the same test images: as they are, and with Gaussian noise on every pixel, since networks that are
nearly always right cannot show whether they are wrong together. Prints what `diversity` says of all
members, and draws docs/figures/diversity-digits.png from the noisy images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import ensembles
from ensembles.checkpoints import Subject, open_average, open_subject
from ensembles.plots import plot_diversity, save_figure

FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "diversity-digits.png"
SAID = (
    "disagreement over the sum of both errors", "correlation of errors", "error: members' mean",
    "error: average", "error: members' mean less average's", "Brier score: members' mean",
    "Brier score: average", "error: intact network",
)  # fmt: skip


def noisy(subject: Subject, noise: float) -> list[Any]:
    """The test images as a network takes them, with noise on every pixel.

    Args:
        subject: The network and its images.
        noise: Its standard deviation, in deviations of the pixels of the training images.
    """
    draw = torch.Generator().manual_seed(0)
    return [
        (images + noise * torch.randn(images.shape, generator=draw), labels)
        for images, labels in subject.data.batches(len(subject.data))
    ]


def measured(subject: Subject, noise: float, **options: Any) -> pd.DataFrame:
    """The table of diversity on noisy images."""
    return ensembles.analyze(
        subject.net, noisy(subject, noise), "diversity", progress=False, **options
    )


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of `ensembles family`")
    parser.add_argument("--noise", type=float, default=1.5, help="on the pixels [default: 1.5]")
    parser.add_argument("--members", type=int, default=12, help="sub-networks [default: 12]")
    given = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(given.folder.glob("trained/preresnet*/preresnet*-w*.safetensors"))
    files = [file for file in files if not file.stem.endswith(".init")]
    print(f"{len(files)} networks: {', '.join(file.parent.name for file in files)}")
    apart = open_average([(file.stem, file) for file in files], check=False)
    deep = max(files, key=lambda file: int(file.stem.split("-")[0].removeprefix("preresnet")))
    alone = open_subject(deep.stem, deep, check=False)
    blocks = len(alone.net)
    for noise in (0.0, given.noise):
        tables = {
            "trained apart, equal size": measured(apart, noise),
            **{
                f"{deep.stem.split('-')[0]} without {gone} of {blocks}": measured(
                    alone, noise, share=gone / blocks, members=given.members
                )
                for gone in (1, 3)
            },
        }
        for name, table in tables.items():
            print(f"noise {noise}: {name}: {table.attrs['made']}")
            for row in table.attrs["ensemble"]:
                if row["what"] in SAID:
                    print(f"    {row['what']}: {row['value']:.3f} ({row['low']:.3f} to "
                          f"{row['high']:.3f})")  # fmt: skip
    save_figure(plot_diversity(list(tables.values()), labels=list(tables)), FIGURE)


if __name__ == "__main__":
    main()
