"""Fixed tensors of a graph in the form in which the parts can hold them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from ensembles.decomposition.simplification import operation
from ensembles.decomposition.sizes import Sizes

__all__ = ["plain_constants"]

_CONTRACTIONS = (
    "matmul", "mm", "bmm", "mv", "addmm", "baddbmm", "linear", "einsum", "tensordot", "rmatmul",
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
)  # fmt: skip


def plain_constants(traced: fx.GraphModule, sizes: dict[str, Sizes]) -> None:
    """Make matrices that multiply activations weights, and complex numbers pairs, in place.

    A buffer, or what a model computes of numbers that it was given (weights of 8 bits, lists), is a
    weight where it is contracted with an activation, as in a linear layer. The kernels of grouped
    convolutions (blurring) and what is made by factories alone (identities, ramps) are none.
    Complex tensors become pairs of real numbers, which keep both parts in every precision, and
    sparse ones dense.
    """
    for node in list(traced.graph.nodes):
        if node.op == "get_attr" and _is_matrix(traced, node):
            _as_weight(traced, str(node.target))
    for node in list(traced.graph.nodes):
        value = _tensor(traced, node) if node.op == "get_attr" else None
        if value is not None and value.is_complex():
            pairs = torch.view_as_real(value.detach().resolve_conj()).contiguous()
            _unpacked(traced, node, sizes, pairs, torch.view_as_complex)
        elif value is not None and value.layout is not torch.strided:
            _unpacked(traced, node, sizes, value.detach().to_dense(), Tensor.to_sparse)


def _tensor(traced: fx.GraphModule, node: fx.Node) -> Tensor:
    owner, _, name = str(node.target).rpartition(".")
    value = getattr(traced.get_submodule(owner), name)
    assert isinstance(value, Tensor)
    return value


def _is_matrix(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a fixed tensor of real numbers is contracted with something that it does not fix."""
    value = _tensor(traced, node)
    real = value.is_floating_point() or value.is_complex()
    if isinstance(value, nn.Parameter) or not real or not node.meta.get("origin", True):
        return False
    wide = sum(size > 1 for size in value.shape) >= 2
    return wide and any(_contracts(user, node) for user in node.users)


def _contracts(user: fx.Node, node: fx.Node) -> bool:
    if operation(user) in ("t", "transpose", "T", "mT", "permute", "getattr"):
        return any(_contracts(one, user) for one in user.users)
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given = {**dict(zip(names, user.args, strict=False)), **user.kwargs}
    grouped = "conv" in operation(user) and given.get("groups", 1) != 1
    return operation(user) in _CONTRACTIONS and not grouped


def _as_weight(traced: fx.GraphModule, target: str) -> None:
    path, _, name = target.rpartition(".")
    owner = traced.get_submodule(path)
    value = owner._buffers.pop(name, None)
    if value is not None:
        owner._non_persistent_buffers_set.discard(name)
        owner.register_parameter(name, nn.Parameter(value, requires_grad=False))


def _unpacked(
    traced: fx.GraphModule,
    node: fx.Node,
    sizes: dict[str, Sizes],
    plain: Tensor,
    packing: Callable[[Tensor], Tensor],
) -> None:
    """Hold a tensor as a plain one, of which it is made again where it is read."""
    value, name = _tensor(traced, node), f"{node.name}_plain"
    if isinstance(value, nn.Parameter):
        traced.register_parameter(name, nn.Parameter(plain, requires_grad=False))
    else:
        traced.register_buffer(name, plain, persistent=False)
    with traced.graph.inserting_before(node):
        fetched = traced.graph.get_attr(name)
        made = traced.graph.call_function(packing, (fetched,))
    fetched.meta = {**node.meta, "dtype": plain.dtype}
    made.meta = {**node.meta}
    sizes[fetched.name] = Sizes(tuple(plain.shape), tuple(plain.shape))
    sizes[made.name] = Sizes(tuple(value.shape), tuple(value.shape))
    node.replace_all_uses_with(made)
    traced.graph.erase_node(node)
