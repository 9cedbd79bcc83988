"""Draw the figures of the front pages from the tables beside them.

    ensembles lesion --model resnet110 --model vgg15 --out docs/figures/lesion-digits.csv
    ensembles paths --out docs/figures/paths-digits.csv
    python docs/figures/draw.py

Each picture bears the hash of its table, so that one older than its table is noticed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image, PngImagePlugin

import ensembles

HERE = Path(__file__).parent
FIGURES = {"lesion-digits": ensembles.plot_lesions, "paths-digits": ensembles.plot_paths}


def digest(table: Path) -> str:
    """The hash of a table's file."""
    return hashlib.sha256(table.read_bytes()).hexdigest()


def main() -> None:
    """Draw them all."""
    for name, draw in FIGURES.items():
        table, picture = HERE / f"{name}.csv", HERE / f"{name}.png"
        draw(ensembles.read_frame(table), picture)
        told = PngImagePlugin.PngInfo()
        told.add_text("Table", digest(table))
        with Image.open(picture) as drawn:
            drawn.load()
            drawn.save(picture, pnginfo=told, dpi=(300, 300), optimize=True)


if __name__ == "__main__":
    main()
