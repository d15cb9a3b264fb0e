"""Options shared by commands: one flag per setting."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from api.cli.command import refuse_unused
from api.library.config_files import settings_from_files
from api.schemas.parsing import numbers_from_text
from api.settings import Settings, group_of
from search import records
from search.errors import UsageError
from search.manifest import load_manifest

Command = TypeVar("Command", bound=Callable[..., Any])
ALL_SETTINGS = tuple(Settings.model_fields)
SECRETS = ("qdrant_api_key", "api_keys", "read_keys")


def parse_id(text: str) -> str:
    """Parse a UUID to its canonical form.

    Raises:
        UsageError: it is malformed.
    """
    import uuid

    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise UsageError(f"{text!r} is not an id: ids are UUIDs, as printed by search") from error


def settings_options(*groups: str) -> Callable[[Command], Command]:
    """Add a flag for each setting of these groups; the command is called with `settings`."""
    names = names_of_group(*groups)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_settings(**params: Any) -> Any:  # noqa: ANN401
            flags = {name: params.pop(name) for name in names}
            settings = read_settings(flags, params.pop("config"))
            if "server" in groups:
                _check_has_server(settings)
            return command(settings=settings, **params)

        wrapped: Any = click.option(
            "--config",
            envvar="SEGSEARCH_CONFIG",
            type=click.Path(path_type=Path),
            help="A settings file, instead of ./segsearch.toml and the user's own.",
        )(with_settings)
        for name in reversed(names):
            wrapped = _option(name)(wrapped)
        decorated: Command = wrapped
        return decorated

    return decorate


def names_of_group(*groups: str) -> list[str]:
    """The names of the settings in these groups."""
    return [name for name in Settings.model_fields if group_of(name) in groups]


def _check_has_server(settings: Settings) -> None:
    """Refuse server flags if the library has no server and --qdrant names none."""
    manifest = load_manifest(settings.library.expanduser())
    if settings.qdrant is None and (manifest is None or manifest.qdrant is None):
        refuse_unused(
            names_of_group("server"), "they are for a Qdrant server: name it with --qdrant"
        )


def _option(name: str) -> Callable[[Command], Command]:
    """The flag of one setting. Pydantic parses the value, as it does for other sources."""
    field = Settings.model_fields[name]
    text = f"{field.description}{_default_text(field.default)}"
    if field.annotation is bool:
        flags = f"{_flag(name)}/--no-{name.replace('_', '-')}"
        return click.option(flags, name, default=None, help=text)
    kind = click.Path() if field.annotation in (Path, Path | None) else None
    return click.option(_flag(name), name, type=kind, default=None, metavar="VALUE", help=text)


def _default_text(default: object) -> str:
    match default:
        case None:
            return ""
        case bool():
            return f" [{'on' if default else 'off'}]"
        case float():
            return f" [{default:.4g}]"
    return f" [{default}]"


def read_settings(flags: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Read the settings from flags, environment and files.

    Args:
        flags: by setting; None where a flag was not given.
        config: the settings file of --config.

    Raises:
        UsageError: a value is invalid, or a file can't be read.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if "effort" in given and "points_per_side" in given:
        raise UsageError("--effort sets the number of points: give it or --points-per-side")
    names = {name: _flag(name) if name in given else _other_source(name) for name in ALL_SETTINGS}
    try:
        settings = Settings(**given)
        values = settings.model_dump(include=settings.model_fields_set)
        return Settings.model_validate({**settings_from_files(config), **values})
    except ValidationError as error:
        raise UsageError(sentence_from_validation(error.errors(), names)) from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _other_source(name: str) -> str:
    """The name of a setting that no flag set."""
    return f"{Settings.model_config['env_prefix']}{name.upper()} (or {name} in a settings file)"


def sentence_from_validation(problems: Iterable[Any], names: Mapping[str, str]) -> str:
    """Describe validation errors; `names` are the flags of the fields."""
    return "; ".join(_problem_text(problem, names) for problem in problems)


def _problem_text(problem: Any, names: Mapping[str, str]) -> str:  # noqa: ANN401  (pydantic's ErrorDetails)
    field = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        return f"there is no setting {field!r}: see docs/settings.md"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not field:  # a rule about several fields, which the message names
        return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), message)
    given = "" if field in SECRETS else f" (given: {problem['input']!r})"
    return f"{names.get(field, field)}: {message}{given}"


def near_from_text(text: str) -> tuple[float, float, float]:
    """Parse `LAT,LON,RADIUS_M`.

    Raises:
        UsageError: it is malformed.
    """
    numbers = numbers_from_text(text)
    if len(numbers) != 3:
        raise UsageError(f"--near {text!r}: the format is LAT,LON,RADIUS_M, as in 52.52,13.40,5000")
    return numbers[0], numbers[1], numbers[2]


def moment_from_text(text: str) -> datetime:
    """Parse a year, month, day or time; without a UTC offset it is the photos' local time.

    Raises:
        UsageError: it is malformed.
    """
    try:
        return records.moment_from_text(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def split_weight(text: str) -> tuple[str, float]:
    """Split `EXAMPLE*WEIGHT`; the default weight is 1. A text may contain other stars.

    Raises:
        UsageError: the part after the last star starts like a number and is not a weight.
    """
    example, star, weight = text.rpartition("*")
    if not star or not re.match(r"\s*($|[-+.\d])", weight):
        return text, 1.0
    try:
        number = float(weight)
    except ValueError:
        number = 0.0
    if not (example.strip() and 0 < number < math.inf):
        raise UsageError(
            f"{text!r}: a weight is a number above 0, as in 'red*0.5'; use --not for negative "
            "examples"
        )
    return example.strip(), number


def force_option(command: Command) -> Command:
    """Add --force to a command that writes files."""
    return click.option("--force", is_flag=True, help="Replace existing files (never a photo).")(
        command
    )
