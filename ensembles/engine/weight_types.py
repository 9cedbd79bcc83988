"""Networks whose weights are of several types, which a sweep computes in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ensembles.decomposition import Decomposition
from ensembles.engine.memory import is_oom
from ensembles.errors import UsageError

__all__ = ["one_type_for_all"]


@contextmanager
def one_type_for_all(net: Decomposition) -> Iterator[None]:
    """Say so where a network fails because all of its weights were brought to one type.

    Args:
        net: The network as it was given.

    Raises:
        UsageError: If torch fails within, and the weights are of several floating types.
    """
    try:
        yield
    except RuntimeError as error:
        kinds = {str(one.dtype)[6:] for one in net.parameters() if one.is_floating_point()}
        if len(kinds) < 2 or is_oom(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"the network has weights of {' and '.join(sorted(kinds))}; brought to one type it "
            f"fails ({reason}); give it with weights of one type, and without casts to another"
        ) from error
