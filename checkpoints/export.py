"""A lesioned network as a file: its weights, or a program that needs nothing of ours."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from ensembles.engine import Materials, lesioned_module
from ensembles.errors import EnsemblesError, OutputError
from ensembles.files import atomic, home_expanded, refusals
from ensembles.lesions import Lesion
from ensembles.tasks import task_of
from ensembles.weights import weights_of, write_weights
from ensembles.writable import check_writable

from .hub import is_hub_name, load_hub, save_hub
from .hub_edits import edited_model
from .subject import Subject

__all__ = ["EXPORTS", "check_export", "write_network"]

EXPORTS = (".safetensors", ".pt2")
_EXAMPLES = 2


def check_export(path: str | Path, model: str = "") -> Path:
    """Refuse a file that cannot be written as a network.

    Args:
        path: The file; for a model of Hugging Face also a folder, which is none of another's.
        model: Name of the network.

    Raises:
        UsageError: If its ending is neither ``.safetensors`` nor ``.pt2``.
        OutputError: If it cannot be written.
    """
    place = home_expanded(path)
    if is_hub_name(model) and not place.suffix:
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise OutputError(f"{place} is there already; expected a new or an empty folder")
        return place
    return check_writable(path, EXPORTS)


def write_network(subject: Subject, lesion: Lesion, path: str | Path) -> Path:
    """Write a network with a lesion.

    Args:
        subject: The network, and what the lesion may need beside it.
        lesion: The lesion.
        path: ``.safetensors`` for the weights of ``net.lesioned(lesion)``, with the lesion in the
            file's metadata; ``.pt2`` for a program of ``torch.export`` that takes any number of
            rows, on the CPU; without an ending, for a model of Hugging Face, a folder that
            ``from_pretrained`` reads, tokenizer included.

    Returns:
        The path.

    Raises:
        UsageError: If the ending is another one.
        LesionError: If the lesion does not fit the network, or needs what is not there.
        OutputError: If the file cannot be written, or ``torch.export`` does not take the network.
    """
    path = check_export(path, subject.card.architecture)
    net = subject.net
    if not path.suffix:
        return _write_folder(subject, lesion, path)
    materials = Materials(
        net, task=task_of(net, data=subject.data), data=subject.data, **subject.materials
    )
    network = lesioned_module(net, lesion, materials).cpu()
    told = {**subject.about, "model": subject.name, "lesion": lesion.kind, "blocks": lesion.text}
    if path.suffix == ".safetensors":
        write_weights(weights_of(network), path, told)
        return path
    example = _example(subject)
    network.answer = ""  # a program gives a plain tensor
    program = _exported(network, example.cpu())
    content = BytesIO()
    torch.export.save(program, content, extra_files={"lesion.txt": _listed(told)})
    with refusals(f"network {path}"), atomic(path) as scratch:
        scratch.write_bytes(content.getvalue())
    return path


def _write_folder(subject: Subject, lesion: Lesion, path: Path) -> Path:
    """Write a model of Hugging Face with blocks deleted in its own layout."""
    name = subject.card.architecture
    model, _ = load_hub(name)
    example = _example(subject)
    edited = edited_model(model, subject.net.cpu(), lesion, example.cpu())
    with refusals(f"network {path}"):
        save_hub(edited, name, path)
    return path


def _example(subject: Subject) -> Tensor:
    """Some rows of the data.

    Raises:
        OutputError: If the network takes several tensors.
    """
    task = task_of(subject.net, data=subject.data)
    found = task.fitted(subject.net, next(task.batches(subject.data, _EXAMPLES))).inputs
    if not isinstance(found, Tensor):
        raise OutputError(
            f"{subject.name} takes several inputs, and is written as weights alone; expected a "
            "file that ends in .safetensors"
        )
    return found


def _exported(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The program of a network for any number of rows, held against the network itself."""
    rows = torch.export.Dim("rows", min=1)
    try:
        with torch.no_grad():
            program = torch.export.export(network, (example,), dynamic_shapes=(({0: rows},),))
            given, wanted = program.module()(example), network(example)
    except Exception as error:  # torch.export raises many
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise OutputError(
            f"torch.export does not take this network ({type(error).__name__}: {reason}); write "
            "its weights as .safetensors"
        ) from error
    if not torch.allclose(given, wanted, rtol=1e-4, atol=1e-4):
        raise EnsemblesError(
            "the exported program gives other logits than the network; write its weights as "
            ".safetensors"
        )
    return program


def _listed(told: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in told.items())
