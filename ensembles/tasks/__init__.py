"""What is asked of a network: what it takes and gives, and what one observation is.

The set is open: a program adds a task by ``TASKS.register``, a package by an entry point of the
group ``ensembles.tasks``.
"""

from __future__ import annotations

from ensembles.tasks.base import Batch, Inputs, Task, numbered
from ensembles.tasks.known_tasks import TASKS, task_of

__all__ = ["TASKS", "Batch", "Inputs", "Task", "numbered", "task_of"]
