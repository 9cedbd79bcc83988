"""What stands in a pickle for objects whose classes and functions are never looked up or run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Foreign", "Named", "would_run"]


@dataclass(frozen=True, eq=False)
class Named:
    """A class or function that a pickle names.

    Attributes:
        name: Module and name, as ``torch.optim.sgd.SGD``.
    """

    name: str


@dataclass(eq=False)
class Foreign:
    """An object of a class that means nothing here: what it was made of, and nothing that acts.

    Attributes:
        name: Its class, or the function that would have made it.
        arguments: What that would have been called with.
        state: What would have become its attributes.
        items: Pairs of keys and values, or values, that would have been put into it.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<{self.name}, left unread>"


# No file of weights has a reason to call these; they are what attacks are made of.
_MODULES = frozenset(
    (
        *("os", "posix", "nt", "subprocess", "_posixsubprocess", "sys", "socket", "shutil"),
        *("runpy", "importlib", "pty", "ctypes", "code", "codeop", "webbrowser", "commands"),
        *("pdb", "timeit", "profile", "cProfile", "marshal", "pip", "urllib", "http", "requests"),
        *("multiprocessing", "asyncio", "signal", "platform", "bdb", "doctest", "ensurepip"),
    )
)
_BUILTINS = frozenset(("eval", "exec", "compile", "open", "__import__", "input", "breakpoint"))
_SINGLE = frozenset(
    ("types.CodeType", "types.FunctionType", "torch.hub.load", "torch.load", "pickle.loads")
)


def would_run(name: str) -> bool:
    """Whether calling something by this name is a sign of a file that was made to run code.

    >>> would_run("posix.system"), would_run("argparse.Namespace")
    (True, False)
    """
    module, _, own = name.rpartition(".")
    if module in ("builtins", "__builtin__"):
        return own in _BUILTINS
    return name.partition(".")[0] in _MODULES or name in _SINGLE
