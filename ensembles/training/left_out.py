"""What belongs to branches that a step leaves out: it is put back as it was before the step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ensembles.models.parts import ResidualBlock
from ensembles.training.stochastic_depth import drop_branches

__all__ = ["LeftOut", "branch_tensors"]


@torch.no_grad()
def branch_tensors(
    model: nn.Module, blocks: Sequence[ResidualBlock], example: Tensor
) -> list[list[Tensor]]:
    """Parameters and buffers of each block that only its branch uses.

    They are found by a run without any branch: what a block's modules without a call own.

    Args:
        model: The network.
        blocks: Its residual blocks.
        example: An input of it.
    """
    called: set[nn.Module] = set()
    hooks = [
        module.register_forward_pre_hook(lambda module, _: called.add(module))
        for module in model.modules()
    ]
    modes = {module: module.training for module in model.modules()}
    before = [block.branch_active for block in blocks]
    try:
        drop_branches(blocks, [False] * len(blocks))
        model.eval()(example)
    finally:
        drop_branches(blocks, before)
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return [
        [
            tensor
            for module in block.modules()
            if module not in called
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
        ]
        for block in blocks
    ]


class LeftOut:
    """Tensors of branches that a mask puts back, a few launches for all of them.

    Args:
        of_blocks: The tensors of each block, dense in memory. They are written in place.
    """

    def __init__(self, of_blocks: Sequence[Sequence[Tensor]]) -> None:
        flat: dict[torch.dtype, list[tuple[int, Tensor]]] = {}
        for number, tensors in enumerate(of_blocks):
            for tensor in tensors:
                view = tensor.detach().as_strided((tensor.numel(),), (1,))
                flat.setdefault(tensor.dtype, []).append((number, view))
        self.views = [[view for _, view in pairs] for pairs in flat.values()]
        self.owners = [
            torch.cat([torch.full_like(view, number, dtype=torch.int32) for number, view in pairs])
            for pairs in flat.values()
        ]

    @torch.no_grad()
    def copied(self) -> list[Tensor]:
        """The values as they are now."""
        return [torch.cat(views) for views in self.views]

    @torch.no_grad()
    def put_back(self, before: Sequence[Tensor], kept: Tensor) -> None:
        """Give the branches that are not kept their earlier values.

        Args:
            before: What :meth:`copied` gave.
            kept: bool (blocks,).
        """
        for views, owner, old in zip(self.views, self.owners, before, strict=True):
            chosen = torch.where(kept[owner], torch.cat(views), old)
            torch._foreach_copy_(views, list(torch.split(chosen, [len(view) for view in views])))
