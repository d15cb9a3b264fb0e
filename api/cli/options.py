"""Flags that commands share: every setting is one."""

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


def checked_id(text: str) -> str:
    """Return the id that a person typed, as it is stored.

    Raises:
        UsageError: it is no UUID.
    """
    import uuid

    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise UsageError(f"{text!r} is not an id: ids are UUIDs, as search prints them") from error


def settings_options(*groups: str) -> Callable[[Command], Command]:
    """Give a command a flag for each setting of these groups; it is called with `settings`."""
    names = names_of_group(*groups)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_settings(**given: Any) -> Any:  # noqa: ANN401
            chosen = {name: given.pop(name) for name in names}
            settings = read_settings(chosen, given.pop("config"))
            if "server" in groups:
                _check_has_server(settings)
            return command(settings=settings, **given)

        wrapped: Any = click.option(
            "--config",
            envvar="SEGSEARCH_CONFIG",
            type=click.Path(path_type=Path),
            help="A file of settings, instead of segsearch.toml here and the user's own.",
        )(with_settings)
        for name in reversed(names):
            wrapped = _option(name)(wrapped)
        done: Command = wrapped
        return done

    return decorate


def names_of_group(*groups: str) -> list[str]:
    """Return the names of the settings of some groups."""
    return [name for name in Settings.model_fields if group_of(name) in groups]


def _check_has_server(settings: Settings) -> None:
    """Refuse flags about a server where the library neither has one nor is to get one."""
    manifest = load_manifest(settings.library.expanduser())
    if settings.qdrant is None and (manifest is None or manifest.qdrant is None):
        refuse_unused(names_of_group("server"), "they are for a Qdrant server: name it by --qdrant")


def _option(name: str) -> Callable[[Command], Command]:
    """Return the flag of one setting; pydantic reads the value, so that errors are alike."""
    field = Settings.model_fields[name]
    shown = f"{field.description}{_shown_default(field.default)}"
    if field.annotation is bool:
        flags = f"{_flag(name)}/--no-{name.replace('_', '-')}"
        return click.option(flags, name, default=None, help=shown)
    kind = click.Path() if field.annotation in (Path, Path | None) else None
    return click.option(_flag(name), name, type=kind, default=None, metavar="VALUE", help=shown)


def _shown_default(default: object) -> str:
    match default:
        case None:
            return ""
        case bool():
            return f" [{'on' if default else 'off'}]"
        case float():
            return f" [{default:.4g}]"
    return f" [{default}]"


def read_settings(chosen: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Return settings from flags (those not None), environment and files.

    Args:
        chosen: the flags, by the names of settings.
        config: the file of settings that was named.

    Raises:
        UsageError: a value that does not fit its setting, or a file that can't be read.
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    if "effort" in given and "points_per_side" in given:
        raise UsageError("--effort stands for a number of points: give it or --points-per-side")
    names = {name: _flag(name) if name in given else _elsewhere(name) for name in ALL_SETTINGS}
    try:
        settings = Settings(**given)
        said = settings.model_dump(include=settings.model_fields_set)
        return Settings.model_validate({**settings_from_files(config), **said})
    except ValidationError as error:
        raise UsageError(sentence_from_validation(error.errors(), names)) from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _elsewhere(name: str) -> str:
    """Return how a setting is called that no flag gave."""
    return f"{Settings.model_config['env_prefix']}{name.upper()} (or {name} in a settings file)"


def sentence_from_validation(problems: Iterable[Any], names: Mapping[str, str]) -> str:
    """Say in words what pydantic found wrong; `names` are the fields as a person knows them."""
    return "; ".join(_said(problem, names) for problem in problems)


def _said(problem: Any, names: Mapping[str, str]) -> str:  # noqa: ANN401  (pydantic's ErrorDetails)
    field = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        return f"there is no setting {field!r}: see docs/settings.md"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not field:  # a rule about several fields, which it names
        return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), message)
    given = "" if field in SECRETS else f" (given: {problem['input']!r})"
    return f"{names.get(field, field)}: {message}{given}"


def near_from_text(text: str) -> tuple[float, float, float]:
    """Read `LAT,LON,RADIUS_M`.

    Raises:
        UsageError: it is something else.
    """
    numbers = numbers_from_text(text)
    if len(numbers) != 3:
        raise UsageError(f"--near {text!r}: a place is LAT,LON,RADIUS_M, as in 52.52,13.40,5000")
    return numbers[0], numbers[1], numbers[2]


def moment_from_text(text: str) -> datetime:
    """Read a year, month, day or moment; without a UTC offset it is the photos' own wall time.

    Raises:
        UsageError: it is something else.
    """
    try:
        return records.moment_from_text(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def weighed(text: str) -> tuple[str, float]:
    """Split `WHAT*WEIGHT`; without a weight it is 1. Words may have a star within.

    Raises:
        UsageError: what comes after the last star is no weight, and begins like one.
    """
    what, star, weight = text.rpartition("*")
    if not star or not re.match(r"\s*($|[-+.\d])", weight):
        return text, 1.0
    try:
        number = float(weight)
    except ValueError:
        number = 0.0
    if not (what.strip() and 0 < number < math.inf):
        raise UsageError(
            f"{text!r}: a weight is a number above 0, as in 'red*0.5'; what it should not be like "
            "goes with --not"
        )
    return what.strip(), number


def force_option(command: Command) -> Command:
    """Give a command that writes files the flag that lets it replace some."""
    return click.option(
        "--force", is_flag=True, help="Replace files that are there already (never a photo)."
    )(command)
