"""A network that was taken apart."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ensembles.decomposition.batch_sizes import BatchSizes
from ensembles.decomposition.blocks import Block
from ensembles.decomposition.inputs import Inputs, Shape
from ensembles.decomposition.other_lengths import OtherLengths
from ensembles.decomposition.reach import reach, takes_ids
from ensembles.decomposition.state import Opening, Passage
from ensembles.decomposition.walk import Visit, last_output, states, walk
from ensembles.errors import DecompositionError, LesionError

if TYPE_CHECKING:
    from ensembles.engine.materials import Materials
    from ensembles.lesions import Lesion

__all__ = ["Decomposition", "Outside"]


class Outside(NamedTuple):
    """What a network is, seen from outside.

    Attributes:
        model_name: The class of the model, or the name it was registered under.
        input_shape: Shape of one row of its input; of several inputs a shape for each, in order.
        input_names: Names of several inputs, in order: the keywords, or "1", "2" by place; empty
            for a single one.
        input_types: Type of the numbers of each input, as the example has it.
        output_shape: Shape of what it gives for a row: (classes,), or (..., classes).
    """

    model_name: str
    input_shape: Shape | tuple[Shape, ...]
    input_names: tuple[str, ...]
    input_types: tuple[torch.dtype, ...]
    output_shape: Shape


class Decomposition(nn.Module):
    """A network as stem, blocks and head; calling it gives the model's own output.

    Attributes:
        stem: What comes before the first block.
        blocks: The blocks in order (`Block`), numbered from 1.
        head: What comes after the last block.
        model_name: The class of the model, or the name it was registered under.
        input_shape: Shape of one row of its input, such as (channels, height, width) of an image;
            of several inputs a shape for each, in order.
        input_names: Names of several inputs, in order: the keywords, or "1", "2" by place; empty
            for a single one.
        input_types: Type of the numbers of each input, as the example has it.
        output_shape: Shape of what it gives for a row: (classes,), or (..., classes).
        num_classes: How many classes an answer chooses between.
        found: How many segments of each kind the network has, those not taken as blocks included.
        inside: How many blocks were found inside others and are not taken.
        on_chain: How many blocks there are through which every path leads.
        nested: Whether blocks were looked for inside others, as it was asked for.
        traced: The functional graph of the whole network.
        uncut: Where activations are added within what could not be cut into blocks: the modules.
        other_gradient: Why autograd gives the user's model another gradient than the parts have,
            so that paths are not defined; "" where it gives the same.
        other_weights: The same of the gradients of its weights.
        answer: What the logits are called in what the model gives; "" for a tensor by itself.
        sees_ahead: Whether its answers at a place of a window change with the tokens behind it;
            None where nobody has looked.
        lengths: Takes it apart for windows of other lengths; None where it takes no tokens.
        sizes: Holds batches of other sizes against the model; None where that is not at hand.
    """

    def __init__(
        self,
        *,
        stem: nn.Module,
        blocks: list[Block],
        head: nn.Module,
        outside: Outside,
        found: Counter[str],
        traced: nn.Module,
    ) -> None:
        super().__init__()
        self.stem, self.head = stem, head
        self.blocks = nn.ModuleList(blocks)
        self.model_name = outside.model_name
        self.input_shape: Any = outside.input_shape
        self.input_names, self.input_types = outside.input_names, outside.input_types
        self.output_shape = tuple(outside.output_shape)
        self.found = found
        self.inside, self.on_chain = 0, len(blocks)
        self.nested: bool | None = None
        self.other_gradient = self.other_weights = ""
        self.uncut: tuple[str, ...] = ()
        self.answer = ""
        self.sees_ahead: bool | None = None
        self.traced = traced
        self.lengths: OtherLengths | None = None
        self.sizes: BatchSizes | None = None
        self._sees: dict[int, int] = {}

    def __repr__(self) -> str:
        """The blocks in a screen: their names, kinds, shapes and parameters."""
        from ensembles.decomposition.summary import text_of  # noqa: PLC0415 (made of this)

        return text_of(self)

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        from ensembles.decomposition.summary import html_of  # noqa: PLC0415

        return html_of(self)

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    def block(self, index: int) -> Block:
        """The block with a number, from 1.

        Raises:
            LesionError: If there is no such block.
        """
        if not 1 <= index <= len(self):
            raise LesionError(f"block {index}: the network has blocks 1 to {len(self)}")
        found = self.blocks[index - 1]
        assert isinstance(found, Block)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The blocks' names, in order."""
        return tuple(block.name for block in self)

    @property
    def road_counts(self) -> tuple[int, ...]:
        """How many branches each block has that can be dropped, 0 where there are none."""
        return tuple(0 if block.roads is None else len(block.roads) for block in self)

    @property
    def transitions(self) -> tuple[int, ...]:
        """The numbers of the blocks whose shortcut is not the identity."""
        return tuple(block.index for block in self if block.is_transition)

    @property
    def is_nested(self) -> bool:
        """Whether several tensors are alive between blocks: nested blocks, or a mask for all."""
        return isinstance(self.stem, Opening)

    def at_length(self, length: int) -> Decomposition:
        """The same network for windows of another length, with this one's weights.

        It is taken apart once for each length; the copies share the weights in memory.

        Args:
            length: Tokens of a window.

        Raises:
            DecompositionError: If it takes no windows of tokens, or cannot be taken apart so.
        """
        if length == self.output_shape[0] and len(self.output_shape) == 2:
            return self
        if self.lengths is None:
            raise DecompositionError(
                f"{self.model_name} was not taken apart with windows of tokens, so that it has no "
                "other lengths; expected ids (N, T) as its example"
            )
        return self.lengths.of(self, length)

    def sees(self, index: int) -> int | tuple[str, ...]:
        """Which tokens of its window a block sees: how far back it looks, 0 for not at all.

        Of a network whose masks are inputs the names of what it reads beside its input; 0 too
        where the network takes no ids of tokens.
        """
        block = self.block(index)
        if not takes_ids(self) or len(block.in_shape) != 2 or block.in_shape != block.out_shape:
            return 0
        if block.reads:
            return tuple(block.reads)
        if self.is_nested:
            return 0
        if index not in self._sees:
            self._sees[index] = reach(block)
        return self._sees[index]

    def alive(self, index: int) -> tuple[str, ...]:
        """Names of what a block at a place can read beside its input; none in a chain."""
        place = self.stem if index == 1 else self.block(index).before
        return place.keeps if isinstance(place, (Opening, Passage)) else ()

    @property
    def num_classes(self) -> int:
        """How many classes an answer chooses between: the last dimension of the output.

        A single logit for a row chooses between two classes by its sign.
        """
        return 2 if tuple(self.output_shape) == (1,) else self.output_shape[-1]

    @property
    def batch_norms(self) -> int:
        """How many BatchNorm layers with running statistics the parts have."""
        parts = (self.stem, *self.blocks, self.head)
        norms = {
            id(module)
            for part in parts
            for module in part.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            and module.running_mean is not None
        }
        return len(norms)

    def with_blocks(self, blocks: Iterable[Block]) -> Decomposition:
        """A network with other blocks; all else is shared with this one.

        Args:
            blocks: As many, in order.
        """
        twin = copy.copy(self)
        twin._modules = self._modules.copy()
        twin.blocks = nn.ModuleList(blocks)
        twin.sizes = None
        return twin

    def walk(self, inputs: Inputs) -> Iterator[Visit]:
        """Each block with its own input and output, in order.

        Args:
            inputs: A batch in the form of the example.
        """
        return walk(self, inputs)

    def lesioned(self, lesion: Lesion, materials: Materials | None = None) -> nn.Module:
        """The network with a lesion, as a module from inputs to outputs.

        Args:
            lesion: The lesion.
            materials: Reference data and other networks, for a lesion that needs some.

        Raises:
            LesionError: If it does not fit the network, or something that it needs is missing.
        """
        from ensembles.engine import lesioned_module  # noqa: PLC0415 (a room that knows this one)

        module: nn.Module = lesioned_module(self, lesion, materials)
        return module

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (rows, *output_shape) from inputs in the form of the example.

        Raises:
            EvaluationError: If the model decides on these data otherwise than on the example, or
                computes something else for so many rows.
        """
        if self.sizes is None or self.training:
            return self._answers(inputs)
        return self.sizes.answers(inputs, self._answers)

    def _answers(self, inputs: Inputs) -> Tensor:
        out: Tensor = self.head(last_output(states(self, inputs)))
        return out
