"""Where the experiments measure: networks, data, and one study of all that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ensembles.analyses.path_options import PathOptions
from ensembles.reproduction.experiment import Part, Parts
from ensembles.reproduction.judgements import Frames
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.networks import find_network
from ensembles.reproduction.request import Request
from ensembles.studies import Data, Measurement, Network, Study, Sweep, Unit, run, unit_table

if TYPE_CHECKING:
    from ensembles.checkpoints import Subject
    from ensembles.data import ImageDataset
    from ensembles.lesions import Structure
    from ensembles.store import Store

__all__ = ["Bench"]

Say = Callable[[str], None]


class Bench:
    """Measures for experiments; what is in its store is not measured again.

    Args:
        request: What the user asks for.
        store: Where results are kept.
        say: Takes a line about each measurement.

    Attributes:
        subjects: The networks that were looked at, opened on their data, by their label.
        study: What was measured; None where nothing was.
    """

    def __init__(self, request: Request, store: Store, say: Say = lambda line: None) -> None:
        self.request = request
        self.say = say
        self.subjects: dict[str, Subject] = {}
        self.study: Study | None = None
        self._store = store
        self._known: dict[tuple[str, str, Data], Network] = {}

    @property
    def folder(self) -> Path:
        """Where the results are kept."""
        return self._store.path.parent

    @property
    def images(self) -> Data:
        """The data of the request, as many images as a lesion is measured on."""
        asked = self.request
        return Data(asked.dataset, split=asked.split, limit=asked.scale.images)

    @cached_property
    def data(self) -> ImageDataset:
        """The same, opened."""
        from ensembles.data import dataset  # noqa: PLC0415 (imports torch)

        asked = self.request
        return dataset(asked.dataset, asked.split, limit=asked.scale.images)

    # Networks

    def residual(self) -> Network:
        """The residual network of the request."""
        return self.network(self.request.model)

    def plain(self) -> Network:
        """The network without shortcuts."""
        return self.network(self.request.plain)

    def network(self, architecture: str, kind: str = "ordinary") -> Network:
        """A trained network.

        Args:
            architecture: Its name.
            kind: How it was trained: ``ordinary``, ``stochastic depth`` or ``paths only``.

        Raises:
            NotMeasured: There is no checkpoint of it for these images.
        """
        asked = self.request
        if asked.checkpoint and (architecture, kind) == (asked.model, "ordinary"):
            return self.known(architecture, asked.checkpoint, self.images)
        card = find_network(architecture, asked.dataset, self.data.classes, kind)
        return self.known(architecture, card.name, self.images)

    def known(self, architecture: str, checkpoint: str, data: Data, label: str = "") -> Network:
        """A network whose weights are known, looked at once.

        Args:
            architecture: Its name.
            checkpoint: Name or file of its weights.
            data: The data that it is measured on.
            label: What results call it; by default the name on the card of its weights.
        """
        from ensembles.checkpoints import open_subject  # noqa: PLC0415 (imports torch)

        key = architecture, checkpoint, data
        if key not in self._known:
            subject = open_subject(
                architecture,
                checkpoint,
                dataset=data.name,
                split=data.split,
                limit=data.limit,
                device=self.request.device,
                check=False,
            )
            self._known[key] = Network(architecture, checkpoint, label or subject.card.name)
            self.subjects[self._known[key].title] = subject
        return self._known[key]

    def structure(self, network: Network) -> Structure:
        """The blocks of a network that was looked at."""
        from ensembles.lesions import Structure  # noqa: PLC0415

        return Structure.of(self.subjects[network.title].net)

    # What is measured

    def sweep(self, sweep: Sweep) -> Sweep:
        """A sweep with the seed and the precision of the request."""
        return replace(sweep, seeds=(self.request.seed,), precision=self.request.precision)

    def spectra(self, network: Network) -> list[Part]:
        """The analysis of the gradient by path length, image by image, each with its own seed.

        Args:
            network: The network; the images are those of the request, spread evenly.
        """
        scale, seed, total = self.request.scale, self.request.seed, len(self.data)
        options = PathOptions(method="all", images=1, signs=scale.signs, samples=scale.samples)
        images = min(scale.path_images, total)
        rows = [place * total // images for place in range(images)]
        return [
            Part(
                network,
                replace(self.images, label=f"{self.images.title}, image {row}", rows=(row,)),
                Measurement("paths", options, seeds=(seed + place,)),
            )
            for place, row in enumerate(rows)
        ]

    def measure(self, wanted: Iterable[Parts]) -> list[Frames]:
        """Measure the parts of several experiments as one study.

        Args:
            wanted: What each experiment asks for.

        Returns:
            The tables of each, as ``ensembles.lesion`` and ``ensembles.paths`` make them; of
            lesions of networks that were looked at ``attrs["reshaping"]`` names the blocks that
            change the shape. What could not be measured is noted with the reason.
        """
        asked = list(wanted)
        study = self.study = _study_of([part for parts in asked for part in parts.values()])
        if study is None:
            return [self._frames(parts, None, {}) for parts in asked]
        found = run(study, self._store, device=self.request.device, check=False, tell=self.say)
        reasons = dict(zip(study.units(), found["reason"], strict=True))
        return [self._frames(parts, study, reasons) for parts in asked]

    def _frames(self, parts: Parts, study: Study | None, reasons: dict[Unit, str]) -> Frames:
        frames = Frames()
        frames.missing.update(parts.missing)
        for name, part in parts.items():
            assert study is not None
            with frames.part(name):
                unit = next(unit for unit in reasons if _is_of(unit, part))
                frame = unit_table(study, self._store, unit)
                if frame is None:
                    raise NotMeasured(reasons[unit] or "it was not measured")
                if part.network.title in self.subjects:
                    forms = self.structure(part.network).forms
                    changing = [form.index for form in forms if not form.keeps_shape]
                    frame.attrs["reshaping"] = changing
                frames[name] = frame
        return frames


def _study_of(parts: list[Part]) -> Study | None:
    """One study of all parts, each asked for once."""
    if not parts:
        return None
    asked = dict.fromkeys(map(_alone, parts))
    return Study(
        name="reproduction",
        models=tuple(dict.fromkeys(part.network for part in parts)),
        data=tuple(dict.fromkeys(part.data for part in parts)),
        lesions=tuple(one for one in asked if isinstance(one, Sweep)),
        analyses=tuple(one for one in asked if isinstance(one, Measurement)),
    )


def _alone(part: Part) -> Sweep | Measurement:
    """The analysis of a part, of its own network and data alone."""
    return replace(part.analysis, models=(part.network.title,), data=(part.data.title,))


def _is_of(unit: Unit, part: Part) -> bool:
    return (unit.model, unit.data, unit.analysis) == (part.network, part.data, _alone(part))
