"""Lesions are run over data: shared prefixes, devices, precision, memory."""

from ensembles.evaluation.counting import count_correct
from ensembles.evaluation.devices import PRECISIONS, choose_device, device_name
from ensembles.evaluation.outcome import Outcome
from ensembles.evaluation.running import check_lesions, default_batch_size, evaluate

__all__ = [
    "PRECISIONS",
    "Outcome",
    "check_lesions",
    "choose_device",
    "count_correct",
    "default_batch_size",
    "device_name",
    "evaluate",
]
