"""Figure 4: every single block deleted, on ImageNet, where the user has the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensembles.data import known_datasets
from ensembles.plots.layout import new_figure
from ensembles.plots.lesions import error_by_block
from ensembles.reproduction.criteria import (
    COSTLIER_IN_WORDS,
    LITTLE_IN_WORDS,
    cost_of_one,
    costlier,
    points,
)
from ensembles.reproduction.experiment import Experiment, Part, Parts, Picture
from ensembles.reproduction.judgements import Claim, Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import facts
from ensembles.studies import Data, Sweep

if TYPE_CHECKING:
    from ensembles.reproduction.bench import Bench

__all__ = ["ImageNet"]

_MODEL, _CLASSES = "resnet152", 1000
_DATA, _SPLIT = "imagenet", "val"


class ImageNet(Experiment):
    """Every single block is deleted in turn, on ImageNet."""

    key = "4"
    title = "Figure 4: deleting every single block, on ImageNet"
    about = ("As figure 3, with torchvision's ResNet-152 on the validation images of ImageNet.",)

    def parts(self, bench: Bench) -> Parts:
        """See the base class."""
        parts = Parts()
        with parts.part("residual"):
            images = Data(
                _images(bench),
                label="ImageNet, validation",
                split=_SPLIT,
                limit=bench.request.scale.images,
            )
            network = bench.known(_MODEL, _DATA, images)
            parts["residual"] = Part(network, images, bench.sweep(Sweep()))
        return parts

    def claims(self) -> tuple[Claim, ...]:
        """See the base class."""
        known = facts()["single_deletion"]
        theirs, deeper = known["resnet152_imagenet"], known["preact_resnet200_imagenet"]
        return (
            Claim(
                "On ImageNet too, deleting one block hardly changes the error",
                LITTLE_IN_WORDS,
                f"ResNet-152: median error {100 * theirs['median']:.2f} %, intact "
                f"{100 * theirs['intact']:.2f} % ({points(theirs['median'] - theirs['intact'])} "
                "points)",
                ("residual",),
                lambda frames: cost_of_one(frames["residual"]),
                _DATA,
            ),
            Claim(
                "On ImageNet, blocks that change the resolution cost more than others",
                COSTLIER_IN_WORDS,
                f"pre-activation ResNet-200: one deletion leads to {100 * deeper['highest']:.1f} %",
                ("residual",),
                lambda frames: costlier(frames["residual"]),
                _DATA,
            ),
        )

    def draw(self, frames: Frames) -> list[Picture]:
        """See the base class."""
        if not frames:
            return []
        figure, [ax] = new_figure()
        error_by_block(frames["residual"], ax=ax)
        known = facts()["single_deletion"]["resnet152_imagenet"]
        caption = (
            f"Error of torchvision's {_MODEL} after deleting each block, measured in this run. "
            f"Published for another ResNet-152: intact {100 * known['intact']:.2f} %, median "
            f"{100 * known['median']:.2f} %, highest {100 * known['highest']:.2f} %."
        )
        return [Picture(figure, caption)]


def _images(bench: Bench) -> str:
    info = next(info for info in known_datasets() if info.name == _DATA)
    if _SPLIT in info.on_disk:
        return _DATA
    if bench.request.dataset != _DATA and len(bench.data.classes) == _CLASSES:
        return bench.request.dataset
    raise NotMeasured(
        f"no ImageNet images in {info.location}",
        "put the validation archive there, or name their folder with --dataset",
    )
