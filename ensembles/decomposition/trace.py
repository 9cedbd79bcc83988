"""A model becomes a graph: by a recording of it, with `torch.export` where that fails."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.autograd import forward_ad

from ensembles.decomposition.any_batch import merge
from ensembles.decomposition.guards import UndecidedError, is_routed
from ensembles.decomposition.inputs import Inputs, cloned, mapped, named_tensors, rows_of, take
from ensembles.decomposition.laps import LOG
from ensembles.decomposition.outputs import answer_of
from ensembles.decomposition.pure_forms import UnfollowableError
from ensembles.decomposition.recorder import Recorder
from ensembles.decomposition.sizes import Sizes
from ensembles.decomposition.skipped_masks import masks_made
from ensembles.decomposition.verification import altered, turned
from ensembles.decomposition.whole_layers import taken_whole
from ensembles.errors import DecompositionError, EnsemblesError

_ROWS = 16
_ADVICE = {
    ".data": "change the tensor itself, not its .data",
    "cannot be seen": "write it with torch's functions (what DLPack, NumPy, TorchScript and "
    "compiled extensions make is not seen)",
    "flex_attention": "let it call scaled_dot_product_attention with a mask",
    "packs sequences": "give the padded rows, and take what stands at the end of each by its index",
    "such as vmap": "let the transformation (vmap, func.grad) read its arguments alone, or write "
    "what it does without it",
    "takes gradients": "take the gradients out of the forward, or write them as functions",
}

_FLEX = str(Path("torch", "nn", "attention", "flex_attention.py"))
_VIEWS = {torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default}

__all__ = ["call_of", "probe", "scope_of", "trace"]


class Traced(NamedTuple):
    """A model as a graph.

    Attributes:
        graph: Pure operations whose nodes carry the module that they come from (`scope_of`).
        sizes: The shapes of their values, by name.
        custom: The custom functions of autograd that ran, each with the module that called it.
        answer: What the logits are called in what the model gives; "" for a tensor by itself.
    """

    graph: fx.GraphModule
    sizes: dict[str, Sizes]
    custom: dict[str, str]
    answer: str


def trace(model: nn.Module, example: Inputs) -> Traced:
    """Turn a model into a graph of its operations, for any number of images.

    Args:
        model: A private copy in evaluation mode.
        example: A batch of inputs.

    Raises:
        DecompositionError: If neither a recording nor `torch.export` can follow the model.
    """
    two, three = probe(example, 2), probe(example, 3)
    try:
        first = _followed(model, two)
        second = _of_others(model, three)
        whole = _recorded(model, example) if first.decisions or second.decisions else first
        if _agree(first, second) and _agree(first, whole):
            return _merged(first, second)
        return _of_one_row(model, example, whole) or _merged(first, second)
    except UnfollowableError as error:
        reason = _cause(error)
    LOG.debug("%s cannot be recorded (%s); it is exported", type(model).__name__, reason)
    try:
        three = altered(model, three)
        with _same_levels():
            first, second = (_replayed(_exported(model, rows), rows) for rows in (two, three))
        return Traced(*merge(first, second), {}, first.answer)
    except Exception as error:  # torch.export has many kinds of errors
        raise DecompositionError(
            f"{type(model).__name__} cannot be traced: {reason}; {_advice(reason)} (torch.export "
            f"fails too: '{_line(error)}')"
        ) from error


@contextmanager
def _same_levels() -> Iterator[None]:
    """Leave the transformations of functions (vmap, jvp) that a failed export leaves open."""
    depth = torch._C._functorch.get_dynamic_layer_stack_depth
    before, outside = depth(), forward_ad._current_level < 0
    try:
        yield
    finally:
        while depth() > before:
            torch._C._functorch.pop_dynamic_layer_stack_and_undo_to_depth(depth() - 1)
        if outside:  # a level of derivatives forward may be open though none is known to Python
            try:
                open_level = torch._C._enter_dual_level()
            except RuntimeError:
                open_level = 0
            torch._C._exit_dual_level(level=open_level)


def _followed(model: nn.Module, rows: Inputs) -> Recorder:
    """A recording in which no step follows from what a router of experts chose.

    The mixtures in which some do are marked as layers of the model.
    """
    while True:
        try:
            found = _recorded(model, rows)
        except UndecidedError as error:
            if not error.routed or not taken_whole(model, error.routed, rows):
                raise
            continue
        scopes = {
            str(one.guard.meta["scope"])
            for one in found.decisions
            if isinstance(one.guard.args[1], fx.Node) and is_routed(one.guard.args[1])
        }
        if not any(taken_whole(model, scope, rows) for scope in sorted(scopes) if scope):
            return found


def _of_others(model: nn.Module, rows: Inputs) -> Recorder:
    """A recording of other rows of the same shapes, as :func:`altered` makes them.

    Whether the model takes them is seen by the recording itself, in place of a run before it.
    """
    try:
        return _recorded(model, turned(rows))
    except UnfollowableError:
        return _recorded(model, altered(model, rows))


def _cause(error: UnfollowableError) -> str:
    """What cannot be followed: torch's own flex_attention by its name, not by what is within."""
    frames = (frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__))
    if any(name.endswith(_FLEX) for name in frames):
        return "it calls flex_attention, whose masks and scores are functions of single numbers"
    return str(error)


def _advice(reason: str) -> str:
    """What to do where neither a recording nor `torch.export` can follow a model."""
    found = [advice for words, advice in _ADVICE.items() if words in reason]
    return next(iter(found), "write that part with torch's own functions, out of place")


def _agree(one: Recorder, other: Recorder) -> bool:
    """Whether what was decided on the data is the same."""
    return [d[1:] for d in one.decisions] == [d[1:] for d in other.decisions]


def _merged(one: Recorder, other: Recorder) -> Traced:
    return Traced(*merge(one, other), one.custom, one.answer)


def _of_one_row(model: nn.Module, example: Inputs, whole: Recorder) -> Traced | None:
    """A graph of decisions on the rows together (`mask.all()`), as the example has them.

    Rows of the example are tried, each repeated; None where no row alone decides as all do.
    """
    for row in range(min(rows_of(example), _ROWS)):
        repeated = take(example, slice(row, row + 1))
        two = _recorded(model, probe(repeated, 2))
        three = _recorded(model, altered(model, probe(repeated, 3)))
        if _agree(two, whole) and _agree(three, whole):
            return _merged(two, three)
    return None


def probe(example: Inputs, size: int) -> Inputs:
    """So many rows of an example, again from the first where it has fewer."""
    rows = torch.arange(size) % rows_of(example)
    return mapped(lambda tensor: tensor[rows.to(tensor.device)], example)


def _recorded(model: nn.Module, inputs: Inputs) -> Recorder:
    recorder = Recorder(model)
    try:
        with masks_made():
            recorder.run(cloned(inputs))
    except (EnsemblesError, UnfollowableError):
        raise
    except Exception as error:  # the user's code runs here
        raise UnfollowableError(f"it fails while it is recorded ({_line(error)})") from error
    return recorder


def _exported(model: nn.Module, inputs: Inputs) -> fx.GraphModule:
    """Export a model for one number of images; its graph then holds pure operations alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(inputs, dict):
            program = torch.export.export(model, (), inputs, strict=False)
        else:
            args = (inputs,) if isinstance(inputs, Tensor) else inputs
            program = torch.export.export(model, args, strict=False)
        module = program.run_decompositions({}).module()
    assert isinstance(module, fx.GraphModule)
    for node in module.graph.nodes:
        if node.target in _VIEWS:  # of strides that were only supposed
            node.target = torch.reshape
    module.recompile()
    return module


class _Replay(fx.Interpreter):
    """Runs an exported graph and records it."""

    def __init__(self, program: fx.GraphModule, recorder: Recorder) -> None:
        super().__init__(program)
        self.recorder = recorder

    def run_node(self, n: fx.Node) -> Any:
        self.recorder.scopes = [_exported_scope(n)]
        return super().run_node(n)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self.recorder.observe(target, args, kwargs)


def _replayed(program: fx.GraphModule, inputs: Inputs) -> Recorder:
    recorder = Recorder(program)
    recorder.begin(inputs)
    replay = _Replay(program, recorder)
    with torch.enable_grad():
        out = replay.run(*_arguments(program, inputs))
    recorder.answer, logits = answer_of(out, rows_of(inputs))
    recorder.finish(logits)
    return recorder


def _arguments(program: fx.GraphModule, inputs: Inputs) -> list[Tensor]:
    """The tensors in the order in which an exported graph takes them."""
    given = named_tensors(inputs)
    names = [str(node.target) for node in program.graph.nodes if node.op == "placeholder"]
    if isinstance(inputs, dict) and set(names) == set(given):
        return [given[name] for name in names]
    return list(given.values())


def _exported_scope(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = str(next(reversed(stack.values()))[0])
    return path.removeprefix("L['self']").removeprefix("L__self__").removeprefix(".")


def scope_of(node: fx.Node) -> str:
    """The qualified name of the module in whose `forward` a node was made ("" for the root)."""
    return str(node.meta.get("scope", ""))


def call_of(node: fx.Node, module: str) -> int:
    """In which call of a module a node was made, from 1: modules may run at several time steps."""
    return int(node.meta.get("calls", {}).get(module, 1))


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
