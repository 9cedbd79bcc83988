"""Whether a network's answers at a place of a window change with what stands behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensembles.tasks.token_items import IDS, MASK, ids_of

if TYPE_CHECKING:
    from ensembles.decomposition import Decomposition

__all__ = ["sees_ahead"]

_ROUNDING = 1e-4
"""Of the greatest logit: what the order of a sum may change."""


def sees_ahead(net: Decomposition, inputs: Any) -> bool:
    """Whether another last token changes the answers at the places before it; told once a network.

    Args:
        net: A network of ids and logits for each.
        inputs: Windows in the form of its example, of which the first without padding at its end is
            tried; where all have some, nothing is known, and it does not.
    """
    import torch  # noqa: PLC0415

    if net.sees_ahead is not None:
        return net.sees_ahead
    ids = ids_of(inputs)
    whole = (
        inputs[MASK][:, -1] > 0 if isinstance(inputs, dict) and MASK in inputs else ids[:, 0] > -1
    )
    if not bool(whole.any()):
        return False
    first = int(whole.int().argmax())
    weight = next(net.parameters(), None)
    place: Any = ids.device if weight is None else weight.device
    rows: Any = {name: one[[first, first]].to(place) for name, one in _named(inputs).items()}
    rows[IDS][1, -1] = (rows[IDS][1, -1] + 1) % net.num_classes
    with torch.no_grad():
        before, after = net(rows if isinstance(inputs, dict) else rows[IDS])[:, :-1].float()
    bound = _ROUNDING * float(before.abs().max())
    net.sees_ahead = bool((before - after).abs().max() > bound)
    return net.sees_ahead


def _named(inputs: Any) -> dict[str, Any]:
    return inputs if isinstance(inputs, dict) else {IDS: inputs}
