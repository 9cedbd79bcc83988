"""Options of the command line that are made from values: settings of kinds, options of analyses."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ensembles.lesions.base import Setting

__all__ = [
    "OPTIONS_OF_COMMANDS", "executor_options", "executor_settings", "kind_options",
    "setting_options", "settings_of",
]  # fmt: skip

OPTIONS_OF_COMMANDS = frozenset({
    "as_json", "average", "batch_size", "block_kinds", "block_names", "blocks", "checkpoint",
    "checkpoints", "classes", "colours", "column", "count", "crop", "crop_mode", "dataset",
    "device", "engine", "force", "front", "help", "image_size", "in_channels", "initial",
    "interpolation",
    "kind", "labels", "limit", "list", "mask_seed", "masked", "match", "metrics", "model",
    "models", "names", "nested", "normalize", "out", "plan", "plot", "precision", "predictions",
    "raw_cells", "recalibrated", "reference", "resize", "scale", "seed", "skip_transitions",
    "split", "store", "stride", "task", "test_size", "title", "trials", "weights", "width",
    "window",
})  # fmt: skip
"""What the commands of lesions name themselves: settings of these names get no option."""

_OPTIONS_OF_RUN = frozenset({"batch_size", "device", "file", "force", "help", "on", "store"})

Command = TypeVar("Command", bound=Callable[..., Any])
_TYPES: dict[str, click.ParamType[Any]] = {
    "int": click.INT, "float": click.FLOAT, "str": click.STRING,
}  # fmt: skip
_FALSE = ("false", "no", "off", "0")


def setting_options(
    settings: Iterable[Setting], *, leave_out: Collection[str] = ()
) -> Callable[[Command], Command]:
    """An option for each of some settings, with their defaults.

    Args:
        settings: Those of an analysis.
        leave_out: Names of those that get no option.
    """

    def apply(command: Command) -> Command:
        for one in reversed([one for one in settings if one.name not in leave_out]):
            command = _option(one, one.help, one.default)(command)
        return command

    return apply


def kind_options() -> Callable[[Command], Command]:
    """An option for each setting of any kind of lesion; kinds may share one.

    They have no default here: what is not given is left to the kind (:func:`settings_of`). A seed
    of a kind's own is the seed of the command.
    """
    return _shared_options(_by_name)


def executor_options() -> Callable[[Command], Command]:
    """An option for each setting of any executor; executors may share one, as kinds do."""
    return _shared_options(_of_executors)


def executor_settings(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of executors that were given, as the types of the one that is chosen.

    Args:
        name: Of the executor.
        given: Values of options by name.
    """
    from ensembles.studies import EXECUTORS  # noqa: PLC0415

    own = {one.name: one for one in EXECUTORS.get(name).options.settings()}
    said = {key: value for key, value in given.items() if value is not None}
    return {
        key: _converted(own[key], value) if key in own else value for key, value in said.items()
    }


def _of_executors() -> dict[str, dict[str, Setting]]:
    """Each setting's name, with the executors that have it."""
    from ensembles.studies import EXECUTORS  # noqa: PLC0415

    found: dict[str, dict[str, Setting]] = {}
    for name, executor in EXECUTORS.members().items():
        for one in executor.options.settings():
            if one.name not in _OPTIONS_OF_RUN:
                found.setdefault(one.name, {})[name] = one
    return found


def _shared_options(
    by_name: Callable[[], Mapping[str, Mapping[str, Setting]]],
) -> Callable[[Command], Command]:
    """An option for each setting that some of several owners have."""

    def apply(command: Command) -> Command:
        for name, owners in reversed(list(by_name().items())):
            first = next(iter(owners.values()))
            types = {one.type for one in owners.values()}
            shared = first._replace(
                type=types.pop() if len(types) == 1 else "str",
                choices=_all_choices(owners.values()),
                default=None,
            )
            command = _option(shared, _help(owners), None)(command)
            assert name == shared.name
        return command

    return apply


def settings_of(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Take what was given for the settings of a kind out of all options.

    Args:
        kind: Name of the kind.
        given: Values of options by name; those of settings are taken out.

    Returns:
        The settings that were given.

    Raises:
        LesionError: If there is no such kind.
        UsageError: If a setting is given that the kind does not have, or has no such value.
    """
    from ensembles.errors import UsageError  # noqa: PLC0415
    from ensembles.lesions import KINDS  # noqa: PLC0415

    own = {one.name: one for one in KINDS.get(kind).settings()}
    found: dict[str, Any] = {}
    for name, owners in _by_name().items():
        value = given.pop(name, None)
        if value is None:
            continue
        if name not in own:
            takes = ", ".join(map(_flag, own)) or "no settings"
            raise UsageError(
                f"{_flag(name)} is a setting of {', '.join(owners)}; {kind} takes {takes}"
            )
        found[name] = _converted(own[name], value)
    return found


def _by_name() -> dict[str, dict[str, Setting]]:
    """Each setting's name, with the kinds that have it."""
    from ensembles.lesions import KINDS  # noqa: PLC0415

    found: dict[str, dict[str, Setting]] = {}
    for kind, member in KINDS.members().items():
        for one in member.settings():
            if one.name not in OPTIONS_OF_COMMANDS:
                found.setdefault(one.name, {})[kind] = one
            elif one.name != "seed":  # which is the seed of the command
                _warn_of(kind, one.name)
    return found


def _warn_of(kind: str, name: str) -> None:
    from ensembles.open_set import PluginWarning  # noqa: PLC0415

    warnings.warn(
        f"setting '{name}' of the lesion '{kind}' has no option here: the name is taken; name such "
        "lesions in a plan",
        PluginWarning,
        stacklevel=4,
    )


def _option(setting: Setting, text: str, default: Any) -> Callable[[Command], Command]:
    flag, help_text = _flag(setting.name), _with_default(text, default)
    if setting.type == "bool":
        unset = default is None
        return click.option(
            f"{flag}/--no-{flag[2:]}" if unset or default else flag,
            setting.name, default=None if unset else default, help=help_text,
            is_flag=True,
        )  # fmt: skip
    kind: click.ParamType[Any] = _TYPES.get(setting.type, click.STRING)
    if setting.choices:
        kind = click.Choice(list(setting.choices))
    return click.option(
        flag, setting.name, type=kind, default=default, help=help_text,
        metavar=None if setting.choices else _METAVARS.get(setting.type),
    )  # fmt: skip


_METAVARS = {"int": "N", "float": "X", "str": "TEXT"}


def _with_default(text: str, default: Any) -> str:
    return text if default is None or isinstance(default, bool) else f"{text} [default: {default}]"


def _help(owners: Mapping[str, Setting]) -> str:
    """What a setting does in each kind that has it; equal lines once."""
    lines: dict[str, list[str]] = {}
    for kind, one in owners.items():
        text = one.help.rstrip(".")
        text = text if text[1:2].isupper() else text[:1].lower() + text[1:]
        lines.setdefault(f"{text}.{_told(one.default)}", []).append(kind)
    return " ".join(f"For {', '.join(kinds)}: {line}" for line, kinds in lines.items())


def _told(default: Any) -> str:
    """A default as help tells it."""
    if default is MISSING:
        return " [needed]"
    if isinstance(default, bool):
        default = "yes" if default else "no"
    return "" if default is None else f" [default: {default}]"


def _all_choices(settings: Iterable[Setting]) -> tuple[str, ...]:
    """The choices of all, if all have some."""
    each = [one.choices for one in settings]
    return tuple(dict.fromkeys(choice for one in each for choice in one)) if all(each) else ()


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _converted(setting: Setting, value: Any) -> Any:
    """A value as the type of a kind's own setting, where kinds that share a name differ."""
    if not isinstance(value, str) or setting.type == "str":
        return value
    if setting.type == "bool":
        return value.lower() not in _FALSE
    return _TYPES[setting.type].convert(value, None, None)
