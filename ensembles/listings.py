"""What there is to choose from: the members of the open sets, with a line each."""

from __future__ import annotations

from ensembles.open_set import Listing

__all__ = ["list_analyses", "list_executors", "list_lesions", "list_metrics", "list_tasks"]


def list_lesions() -> Listing:
    """Kinds of lesions, those of installed packages included.

    Returns:
        Names with a line each, as a table that prints itself. A member that cannot be imported is
        left out with a warning.
    """
    from ensembles.lesions import KINDS  # noqa: PLC0415

    return KINDS.listing()


def list_metrics() -> Listing:
    """Metrics by which lesions are measured; as :func:`list_lesions`."""
    from ensembles.metrics import METRICS  # noqa: PLC0415

    return METRICS.listing()


def list_tasks() -> Listing:
    """Tasks: what networks take and give; as :func:`list_lesions`."""
    from ensembles.tasks import TASKS  # noqa: PLC0415

    return TASKS.listing()


def list_analyses() -> Listing:
    """Analyses of a network on data; as :func:`list_lesions`."""
    from ensembles.analyses.kinds import ANALYSES  # noqa: PLC0415

    return ANALYSES.listing()


def list_executors() -> Listing:
    """Executors: where the units of a study run; as :func:`list_lesions`."""
    from ensembles.studies import EXECUTORS  # noqa: PLC0415

    return EXECUTORS.listing()
