"""Ways in which labelled images lie on disk; each finds them without decoding one."""

from ensembles.data.layouts.image_tree import ImageTree
from ensembles.data.layouts.places import find_images

__all__ = ["ImageTree", "find_images"]
