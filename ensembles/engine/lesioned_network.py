"""A lesioned network as a module of its own, for export and for other tools."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.decomposition import Decomposition
from ensembles.decomposition.batch_sizes import BatchSizes
from ensembles.decomposition.inputs import Inputs, named_tensors
from ensembles.engine.devices import home_of
from ensembles.engine.evaluation import check_lesions
from ensembles.engine.materials import Materials
from ensembles.engine.parts import Parts, numbered
from ensembles.engine.prefix_tree import passage_key
from ensembles.engine.recalibration import recalibrate
from ensembles.errors import LesionError
from ensembles.lesions import Lesion
from ensembles.lesions.steps import Key, Program

__all__ = ["LesionedNetwork", "Logits", "lesioned_module"]

_IDS = "input_ids"


def lesioned_module(
    net: Decomposition, lesion: Lesion, materials: Materials | None = None
) -> LesionedNetwork:
    """The network with a lesion, as a module of its own in evaluation mode.

    What the lesion removes is not in it, and nothing in it is the given network's. With
    recalibrated BatchNorm it holds the statistics that were measured. Noise is refused: its values
    belong to the observations of a data set, which a module does not know.

    Args:
        net: The network; left as it is.
        lesion: The lesion.
        materials: Reference data and other networks, where the lesion needs some.

    Raises:
        LesionError: If the lesion does not fit the network, needs what is not there, or adds noise.
    """
    supplied = materials or Materials(net)
    check_lesions(net, [lesion], supplied)
    with torch.no_grad():
        made = LesionedNetwork(net, lesion.program(len(net)), supplied)
        device, dtype = home_of(net)  # another network's blocks may lie elsewhere
        several = len({w.dtype for w in net.parameters() if w.is_floating_point()}) > 1
        network = copy.deepcopy(made).to(device=device, dtype=None if several else dtype).eval()
    if numbered([network]):
        raise LesionError(
            f"{lesion}: the noise belongs to the observations of a data set, by "
            "their number, and a module has none; evaluate it instead"
        )
    if lesion.recalibration is not None and net.batch_norms:
        recalibrate(network, lesion, supplied)
    network.answer, network.named = net.answer, bool(net.input_names)
    network.sizes = net.sizes
    if net.lengths is not None:
        network.length = int(net.input_shape[0][0] if net.input_names else net.input_shape[0])
        network.config = copy.deepcopy(getattr(net.lengths.model, "config", None))
        if not lesion.needs:  # whose values may belong to places of the window
            network.at_length = lambda length: lesioned_module(net.at_length(length), lesion)
    return network


class LesionedNetwork(nn.Module):
    """A stem, what a lesion leaves of the blocks, and a head.

    Args:
        net: The network, whose weights are shared.
        program: What runs at each position.
        materials: What its steps need beside the network.

    Attributes:
        stem: What comes before the first block.
        parts: What runs between stem and head, each part once.
        order: Which of the parts run, one after the other.
        head: What comes after the last block.
        answer: What the logits are called in what the original gives; "" for a tensor by itself.
        named: Whether it takes its inputs by name.
        length: Tokens of a window; None for other inputs.
        at_length: Makes the same for windows of another length; None where that has no meaning.
        config: Of a model of transformers its configuration.
        sizes: Refuses batches for which the original computes something else than it was taken
            apart as; None where that is not known.
    """

    answer: str = ""
    named: bool = False
    length: int | None = None
    at_length: Callable[[int], LesionedNetwork] | None = None
    config: Any = None
    sizes: BatchSizes | None = None

    def __init__(self, net: Decomposition, program: Program, materials: Materials) -> None:
        super().__init__()
        makers, found = Parts(net, materials), dict[Key, nn.Module | None]()
        order: list[Key] = []
        for position, steps in enumerate(program, 1):
            before = net.block(position).before
            if before is not None:
                found[passage_key(position)] = before
                order.append(passage_key(position))
            for step in steps:
                if step.key not in found:
                    found[step.key] = makers.graph(step)
                order.append(step.key)
        kept = {key: part for key, part in found.items() if part is not None}
        places = {key: place for place, key in enumerate(kept)}
        self.stem, self.head = net.stem, net.head
        self._others: dict[int, LesionedNetwork] = {}
        self.parts = nn.ModuleList(kept.values())
        self.order = tuple(places[key] for key in order if key in places)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def tie_weights(self) -> None:
        """Nothing is left to do: weights that were tied are one tensor."""

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """Logits from what the network takes: a tensor, several, or several by name.

        Windows of tokens may have any length. Where the original gives an object with ``logits``,
        what comes back has them too: they are the tensor itself.
        """
        given: Inputs = named or (inputs[0] if len(inputs) == 1 else inputs)
        if self.length is not None:
            if not self.named and isinstance(given, dict) and given.keys() == {_IDS}:
                given = given[_IDS]
            found = next(iter(named_tensors(given).values())).shape[-1]
            if found != self.length:
                whole: Tensor = self._of_length(found)(*inputs, **named)
                return whole
        if self.sizes is not None:
            self.sizes.require(given)
        x = self.stem(given)
        for place in self.order:
            x = self.parts[place](x)
        out: Tensor = self.head(x)
        return out.as_subclass(Logits) if self.answer == "logits" else out

    def _of_length(self, length: int) -> LesionedNetwork:
        """The same for windows of another length, with these weights, made once."""
        if length not in self._others:
            if self.at_length is None:
                raise LesionError(
                    f"windows of {length} tokens, and the lesioned network is for windows of "
                    f"{self.length}: what the lesion needs was measured at their places"
                )
            self._others[length] = self.at_length(length).to(self.device)
        other = self._others[length]
        own = dict(self.named_parameters())
        for name, weight in other.named_parameters():
            weight.data = own[name].data
        return other


class Logits(Tensor):
    """Logits that are found under the name ``logits``, too."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def logits(self) -> Tensor:
        """The tensor itself."""
        return self.as_subclass(Tensor)
