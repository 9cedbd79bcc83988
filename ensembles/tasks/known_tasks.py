"""The open set of tasks, and how the one that a network is for is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensembles.errors import UsageError
from ensembles.open_set import OpenSet
from ensembles.tasks.base import Task

if TYPE_CHECKING:
    from ensembles.decomposition import Decomposition

__all__ = ["TASKS", "task_of"]

TASKS: OpenSet[Task] = OpenSet(
    "task",
    "ensembles.tasks",
    "ensembles.tasks.members",
    first=("classification",),
    base="ensembles.tasks.base:Task",
)
"""All tasks by name, as instances."""


def task_of(net: Decomposition, task: str | Task | None = None, data: Any = None) -> Task:
    """The task of a network.

    Args:
        net: The decomposition.
        task: A task or its name; by default that which the data are for, else the first one that
            suits the network's shapes.
        data: What the network is to be measured on; a text of ours may be for one task.

    Raises:
        UsageError: If the name is unknown, the task does not suit the network, or none does.
    """
    if task is None:
        task = getattr(data, "task", None)
    if task is not None:
        chosen: object = TASKS.get(task) if isinstance(task, str) else task
        if not isinstance(chosen, Task):
            what = getattr(chosen, "__name__", repr(chosen))
            kind = "class" if isinstance(chosen, type) else type(chosen).__name__
            raise UsageError(
                f"task {what} is a {kind}; expected a name, or an instance of a subclass of "
                "ensembles.tasks.Task"
            )
        if not chosen.suits(net):
            raise UsageError(
                f"the task '{chosen.name}' is for networks with {chosen.shapes}; {_described(net)}"
            )
        return chosen
    tasks = TASKS.members().values()
    for one in tasks:
        if one.suits(net):
            return one
    expected = "; ".join(f"{one.name}: {one.shapes}" for one in tasks)
    raise UsageError(f"no task suits the network: {_described(net)}; there are {expected}")


def _described(net: Decomposition) -> str:
    given, taken = net.output_shape, net.input_shape
    return f"one row of what it takes has the shape {taken}, of what it gives {given}"
