"""The store of trained networks: cards, weights, and where they come from."""

from ensembles.cards import Card, Measured, card_text, parse_card, read_card, write_card

from .additions import Verdict, add, verify
from .averages import open_average
from .card_error import check_error
from .class_labels import check_classes
from .export import check_export, write_network
from .files import (
    CheckpointWarning,
    WeightFile,
    check_sha256,
    file_sha256,
    open_weights,
    read_state_dict,
)
from .hub_edits import edited_model
from .images import ImageChoice
from .initial_weights import open_initial
from .loader import architecture_of, load, load_file
from .pixel_records import of_card as preprocessing_of
from .state_dicts import build_with_weights
from .store import (
    Entry,
    cache_folder,
    fetch,
    find,
    list_checkpoints,
    remove,
    save_checkpoint,
    user_folder,
)
from .subject import Subject, open_subject

__all__ = [
    "Card",
    "CheckpointWarning",
    "Entry",
    "ImageChoice",
    "Measured",
    "Subject",
    "Verdict",
    "WeightFile",
    "add",
    "architecture_of",
    "build_with_weights",
    "cache_folder",
    "card_text",
    "check_classes",
    "check_error",
    "check_export",
    "check_sha256",
    "edited_model",
    "fetch",
    "file_sha256",
    "find",
    "list_checkpoints",
    "load",
    "load_file",
    "open_average",
    "open_initial",
    "open_subject",
    "open_weights",
    "parse_card",
    "preprocessing_of",
    "read_card",
    "read_state_dict",
    "remove",
    "save_checkpoint",
    "user_folder",
    "verify",
    "write_card",
    "write_network",
]
