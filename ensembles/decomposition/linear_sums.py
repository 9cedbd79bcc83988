"""Every linear join of activations is written as a sum, whatever operation a model spells it with.

``x - f(x)``, ``torch.add(x, y, alpha=2)``, ``lerp``, ``addcmul``, ``baddbmm``, sums and weighted
sums over a stack: each becomes additions and products, in which roads can be told apart.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from ensembles.decomposition.pure_forms import assigned
from ensembles.decomposition.scattered_sums import SCATTERED
from ensembles.decomposition.simplification import concat_parts, is_concat, operation
from ensembles.decomposition.sizes import Sizes
from ensembles.decomposition.sum_writer import SumWriter
from ensembles.decomposition.synonyms import SYNONYMS, given_of

__all__ = ["write_sums"]

_PRODUCTS: dict[str, Callable[..., Any]] = {
    "addmm": torch.mm, "addmv": torch.mv, "baddbmm": torch.bmm,
}  # fmt: skip
_CALLS = ("call_function", "call_method")


def write_sums(traced: fx.GraphModule, sizes: dict[str, Sizes]) -> None:
    """Rewrite the joins of a graph in place; what it computes stays the same up to rounding.

    Args:
        traced: A recorded graph.
        sizes: Shapes of its values by node name; those of new nodes are entered.
    """
    writer = SumWriter(traced.graph, sizes)
    for node in list(traced.graph.nodes):
        rule = _RULES.get(operation(node)) if node.op in _CALLS else None
        made = None
        if rule is not None and node in writer.active:
            writer.node = node
            with traced.graph.inserting_before(node):
                made = rule(writer, node)
        if made is not None:
            node.replace_all_uses_with(made)
            traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()


def _added(sums: SumWriter, node: fx.Node, sign: int = 1, turned: bool = False) -> fx.Node | None:
    given = given_of(node, ("input", "other", "alpha"))
    if given is None or not sums.both(given.get("input"), given.get("other")):
        return None
    factor = sign * given.get("alpha", 1)
    one, other = given["input"], given["other"]
    if turned:
        one, other = other, one
    plain = len(node.args) == 2 and not node.kwargs and factor == 1
    if plain:
        return None
    made = sums.total([one, sums.scaled(other, factor)])
    made.meta["difference"] = sign < 0
    return made


def _subtracted(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    return _added(sums, node, -1)


def _subtracted_from(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    return _added(sums, node, -1, turned=True)


def _interpolated(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    given = given_of(node, ("input", "end", "weight"))
    if given is None or not sums.both(given.get("input"), given.get("end")):
        return None
    weight = given["weight"]
    rest = sums.call(operator.sub, 1, weight) if isinstance(weight, fx.Node) else 1 - weight
    ends = sums.scaled(given["input"], rest), sums.scaled(given["end"], weight)
    return sums.total(ends)


def _with_product(
    sums: SumWriter, node: fx.Node, function: Callable[..., Any] = operator.mul
) -> fx.Node | None:
    given = given_of(node, ("input", "tensor1", "tensor2", "value"))
    if given is None or not sums.both(given.get("input")):
        return None
    pair = given["tensor1"], given["tensor2"]
    if not any(map(sums.both, pair)):
        return None
    made = sums.call(function, *pair)
    return sums.total([given["input"], sums.scaled(made, given.get("value", 1))])


def _with_quotient(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    return _with_product(sums, node, operator.truediv)


def _with_matrix_product(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    names = {"addmm": ("mat1", "mat2"), "addmv": ("mat", "vec"), "baddbmm": ("batch1", "batch2")}
    name = operation(node)
    pair = names[name]
    given = given_of(node, ("input", *pair, "beta", "alpha"))
    if given is None or not sums.both(given.get("input")):
        return None
    factors = [given[key] for key in pair]
    if not any(map(sums.both, factors)):
        return None
    made = sums.call(_PRODUCTS[name], *factors, like=sums.sizes[node.name])
    carried = sums.scaled(given["input"], given.get("beta", 1))
    return sums.total([carried, sums.scaled(made, given.get("alpha", 1))])


def _with_bias(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """A linear layer whose bias is an activation."""
    given = given_of(node, ("input", "weight", "bias"))
    if given is None or not sums.both(given.get("input"), given.get("bias")):
        return None
    made = sums.call(F.linear, given["input"], given["weight"], like=sums.sizes[node.name])
    return sums.total([given["bias"], made])


def _with_activation(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """A sum and the non-linearity after it in one."""
    given = dict(node.kwargs)
    gelu = given.pop("use_gelu", False)
    bare = torch.add if operation(node) == "add_relu" else torch.addmm
    with sums.graph.inserting_before(node):
        added = sums.graph.call_function(bare, node.args, given)
    added.meta = dict(node.meta)
    sums.sizes[added.name] = sums.sizes[node.name]
    total = _RULES[operation(added)](sums, added) or added
    return sums.call(F.gelu if gelu else torch.relu, total)


def _of_lists(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """One entry of what an operation makes of lists, entry by entry."""
    source, index = node.args
    assert isinstance(source, fx.Node) and isinstance(index, int)
    bare = getattr(torch, operation(source).removeprefix("foreach_"), None)
    if bare is None:
        return None
    given = [_entry_of(arg, index) for arg in source.args]
    named = {key: _entry_of(value, index) for key, value in source.kwargs.items()}
    with sums.graph.inserting_before(node):
        made = sums.graph.call_function(bare, tuple(given), named)
    made.meta = dict(node.meta)
    sums.sizes[made.name] = sums.sizes[node.name]
    sums.enter(made)
    rule = _RULES.get(operation(made))
    return (rule(sums, made) if rule is not None else None) or made


def _entry_of(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, (list, tuple)) else value


def _summed(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    return _reduced(sums, node, mean=False)


def _averaged(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    return _reduced(sums, node, mean=True)


def _reduced(sums: SumWriter, node: fx.Node, *, mean: bool) -> fx.Node | None:
    """A sum or mean over what was stacked, and perhaps weighted."""
    given = given_of(node, ("input", "dim", "axis", "keepdim"))
    if given is None or not isinstance(given.get("input"), fx.Node):
        return None
    dim = given.get("dim", given.get("axis"))
    if isinstance(dim, (list, tuple)) and len(dim) == 1:
        (dim,) = dim
    if type(dim) is not int:
        return None
    dim %= sums.rank(given["input"])
    found = sums.stack(given["input"])
    parts = _weighted(sums, given["input"], dim) if found is None else found[0]
    if parts is None or (found is not None and found[1] != dim):
        return None
    if mean and found is not None and not _carries_on(parts):
        return None  # roads beside each other, which are averaged
    made: fx.Node = sums.scaled(sums.total(parts), 1 / len(parts) if mean else 1)
    if given.get("keepdim", False):
        return sums.call(torch.unsqueeze, made, dim, like=sums.sizes[node.name])
    return made


def _carries_on(parts: Sequence[fx.Node]) -> bool:
    """Whether one of several nodes is made from another one."""
    seen: set[fx.Node] = set()
    open_nodes = [source for part in parts for source in part.all_input_nodes]
    while open_nodes:
        node = open_nodes.pop()
        if node not in seen:
            seen.add(node)
            open_nodes += node.all_input_nodes
    return any(part in seen for part in parts)


def _weighted(sums: SumWriter, node: fx.Node, dim: int) -> list[fx.Node] | None:
    """The parts of a stack that is multiplied by fixed factors."""
    if operation(node) not in ("mul", "rmul", "multiply") or len(node.args) != 2 or node.kwargs:
        return None
    for stacked, factor in (node.args, node.args[::-1]):
        found = sums.stack(stacked)
        if found is None or found[1] != dim or not sums.fixed(factor):
            continue
        parts = found[0]
        if not isinstance(factor, fx.Node):
            return [sums.scaled(part, factor) for part in parts]
        place = dim - sums.rank(node) + sums.rank(factor)
        size = sums.sizes[factor.name].two or ()
        alike = place < 0 or size[place] == 1
        return [
            sums.scaled(part, _entry(sums, factor, place, 0 if alike else index))
            for index, part in enumerate(parts)
        ]
    return None


def _contracted(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """An einsum over what was stacked, with fixed factors."""
    equation, *operands = node.args
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = [*operands[0]]
    if not isinstance(equation, str) or "->" not in equation or node.kwargs:
        return None
    left, _, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    moving = [i for i, operand in enumerate(operands) if sums.both(operand)]
    found = sums.stack(operands[moving[0]]) if len(moving) == 1 else None
    if found is None or len(terms) != len(operands):
        return None
    place, (parts, dim) = moving[0], found
    letter = terms[place][dim]
    if "." in terms[place][: dim + 1] or letter in result or terms[place].count(letter) > 1:
        return None
    rest = ",".join(term.replace(letter, "") for term in terms) + "->" + result
    own, size = terms[place].replace(letter, ""), sums.sizes[node.name]
    if len(operands) == 1 and own == result:
        return sums.total(parts)
    made = []
    for index, part in enumerate(parts):
        given = [
            part if i == place else _entry(sums, operand, term.find(letter), index)
            for i, (term, operand) in enumerate(zip(terms, operands, strict=True))
        ]
        made.append(sums.call(torch.einsum, rest, *given, like=size))
    return sums.total(made)


def _entry(sums: SumWriter, factor: Any, dim: int, index: int) -> Any:
    """An entry of a fixed tensor along a dimension; all of it where that is -1."""
    if dim < 0 or not isinstance(factor, fx.Node):
        return factor
    size = sums.sizes[factor.name].two or ()
    rest = (*size[:dim], *size[dim + 1 :])
    return sums.call(torch.select, factor, dim, index, like=Sizes(rest, rest))


def _dotted(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """A tensor product of a stack with a fixed vector, over one dimension."""
    given = given_of(node, ("a", "b", "dims"))
    if given is None or given.get("dims") not in (1, ([-1], [0]), [[-1], [0]]):
        return None
    first, second = given.get("a"), given.get("b")
    found = sums.stack(second)
    vector = isinstance(first, fx.Node) and sums.fixed(first) and sums.rank(first) == 1
    if vector and found is not None and found[1] == 0:
        parts = found[0]
        return sums.total([sums.scaled(p, _entry(sums, first, 0, i)) for i, p in enumerate(parts)])
    return _product(sums, first, second)


def _matched(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """The product of a stack along the last dimension with a fixed vector."""
    return _product(sums, *node.args) if len(node.args) == 2 and not node.kwargs else None


def _product(sums: SumWriter, stacked: Any, vector: Any) -> fx.Node | None:
    found = sums.stack(stacked)
    if found is None or not isinstance(stacked, fx.Node):
        return None
    if not isinstance(vector, fx.Node) or not sums.fixed(vector):
        return None
    parts, dim = found
    if sums.rank(vector) != 1 or dim != sums.rank(stacked) - 1:
        return None
    return sums.total([sums.scaled(p, _entry(sums, vector, 0, i)) for i, p in enumerate(parts)])


def _taken(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """One of several: of what was joined before, or of the sums of two lists."""
    source, index = node.args if len(node.args) == 2 else (None, None)
    if not isinstance(source, fx.Node) or type(index) is not int or index < 0:
        return None
    if operation(source).startswith("foreach_"):
        return _of_lists(sums, node)
    parts = _entries(sums, source)
    return parts[index] if index < len(parts) else None


def _entries(sums: SumWriter, source: fx.Node) -> list[fx.Node]:
    """The entries of what was stacked, or joined and split again; none for anything else."""
    found = sums.stack(source)
    if found is not None and found[1] == 0:
        return found[0]
    named = ("input", "chunks", "dim")  # of `split`: the size of each
    given = given_of(source, named) or {}
    joined = given.get("input")
    if operation(source) == "unbind":
        given = given_of(source, ("input", "dim")) or {}
        found = sums.stack(given.get("input"))
        same = found is not None and found[1] == given.get("dim", 0) % sums.rank(given["input"])
        return found[0] if found is not None and same else []
    if operation(source) not in ("chunk", "tensor_split", "split"):
        return []
    if not isinstance(joined, fx.Node) or not is_concat(joined):
        return []
    if type(given.get("dim", 0)) is not int:
        return []
    parts, place = concat_parts(joined)
    alike = len({sums.sizes[part.name] for part in parts}) == 1
    same = alike and (place - given.get("dim", 0)) % sums.rank(joined) == 0
    count = len(parts)
    if same and operation(source) == "split":
        count = (sums.sizes[parts[0].name].two or ())[place]
    return parts if same and given.get("chunks") == count else []


def _overwritten(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """What is written over the whole of a tensor."""
    if node.target is not assigned:
        return None
    before, index, value = node.args
    everything = index if isinstance(index, tuple) else (index,)
    whole = all(item is Ellipsis or item == slice(None) for item in everything)
    if not whole or not isinstance(value, fx.Node) or not isinstance(before, fx.Node):
        return None
    return value if sums.sizes[value.name] == sums.sizes[node.name] else None


_RULES: Mapping[str, Callable[[SumWriter, fx.Node], fx.Node | None]] = {
    "add": _added, "radd": _added, "sub": _subtracted, "subtract": _subtracted,
    "rsub": _subtracted_from, "lerp": _interpolated, "addcmul": _with_product,
    "addcdiv": _with_quotient, "addmm": _with_matrix_product, "addmv": _with_matrix_product,
    "baddbmm": _with_matrix_product, "sum": _summed, "mean": _averaged, "einsum": _contracted,
    "matmul": _matched, "linalg_vecdot": _matched, "vecdot": _matched,
    "linear": _with_bias, "add_relu": _with_activation, "addmm_activation": _with_activation,
    **SYNONYMS, **SCATTERED,
    "tensordot": _dotted, "getitem": _taken, "assigned": _overwritten,
}  # fmt: skip
