"""Figure 4: every single block deleted, on ImageNet, where the user has the images."""

from __future__ import annotations

from ensembles.checkpoints import open_subject
from ensembles.data import known_datasets
from ensembles.lesions import single_deletions
from ensembles.plots.lesions import error_by_block
from ensembles.plots.style import new_figure
from ensembles.reproduction.bench import Bench
from ensembles.reproduction.experiment import (
    Claim,
    Experiment,
    Finding,
    Frames,
    Picture,
)
from ensembles.reproduction.published import facts
from ensembles.reproduction.shapes import cost_of_one, dearer, points
from ensembles.reproduction.unmeasured import NotMeasured

__all__ = ["EXPERIMENT"]

_MODEL, _CLASSES = "resnet152", 1000
_DATA = "imagenet"


def _measure(bench: Bench) -> Frames:
    frames = Frames()
    with frames.part("residual"):
        chosen = bench.setting
        subject = open_subject(
            _MODEL,
            "imagenet",
            dataset=_images(bench),
            split="val",
            limit=chosen.scale.images,
            device=chosen.device,
            check=False,
        )
        frames["residual"] = bench.lesions(
            subject, single_deletions(len(subject.net)), "deleting each block, ImageNet"
        )
    return frames


def _images(bench: Bench) -> str:
    info = next(info for info in known_datasets() if info.name == _DATA)
    if "val" in info.on_disk:
        return _DATA
    if bench.setting.dataset != _DATA and len(bench.data.classes) == _CLASSES:
        return bench.setting.dataset
    raise NotMeasured(
        f"no ImageNet images in {info.location}",
        "put the validation archive there, or name their folder with --dataset",
    )


def _draw(frames: Frames) -> list[Picture]:
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


def _little(frames: Frames) -> Finding:
    return cost_of_one(frames["residual"])


def _published() -> str:
    known = facts()["single_deletion"]["resnet152_imagenet"]
    return (
        f"ResNet-152: median error {100 * known['median']:.2f} %, intact "
        f"{100 * known['intact']:.2f} % ({points(known['median'] - known['intact'])} points)"
    )


EXPERIMENT = Experiment(
    "4",
    "Figure 4: deleting every single block, on ImageNet",
    ("As figure 3, with torchvision's ResNet-152 on the validation images of ImageNet.",),
    (
        Claim(
            "On ImageNet too, deleting one block hardly changes the error",
            "as for figure 3",
            _published(),
            ("residual",),
            _little,
            _DATA,
        ),
        Claim(
            "On ImageNet, blocks that change the resolution cost more than others",
            "as for figure 3",
            f"pre-activation ResNet-200: one deletion leads to "
            f"{100 * facts()['single_deletion']['preact_resnet200_imagenet']['highest']:.1f} %",
            ("residual",),
            lambda frames: dearer(frames["residual"]),
            _DATA,
        ),
    ),
    _measure,
    _draw,
)
