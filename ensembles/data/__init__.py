"""Named data sets and folders of images, as batches in a fixed order."""

from ensembles.data.any_dataset import dataset
from ensembles.data.batches import batches
from ensembles.data.dataset import ImageDataset
from ensembles.data.normalization import Normalization
from ensembles.data.pixels import Preprocessing
from ensembles.data.registry import DatasetInfo, known_datasets

__all__ = [
    "DatasetInfo",
    "ImageDataset",
    "Normalization",
    "Preprocessing",
    "batches",
    "dataset",
    "known_datasets",
]
