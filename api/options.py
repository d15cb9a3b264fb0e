"""Flags that commands share: every setting is one."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from api.schemas import Point
from search.errors import UsageError
from search.records import Box
from search.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(*groups: str) -> Callable[[Command], Command]:
    """Give a command a flag for each setting of these groups; it is called with `settings`."""
    names = [
        name
        for name, field in Settings.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra["group"] in groups
    ]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_settings(**given: Any) -> Any:  # noqa: ANN401
            chosen = {name: given.pop(name) for name in names}
            return command(settings=read_settings(chosen), **given)

        wrapped: Any = with_settings
        for name in reversed(names):
            wrapped = _option(name)(wrapped)
        done: Command = wrapped
        return done

    return decorate


def _option(name: str) -> Callable[[Command], Command]:
    """Return the flag of one setting; pydantic reads the value, so that errors are alike."""
    field = Settings.model_fields[name]
    flag = name.replace("_", "-")
    default = field.default
    shown = "" if default is None else f" [{'on' if default is True else default or 'off'}]"
    if field.annotation is not bool:
        shown = (
            ""
            if default is None
            else f" [{default:.4g}]"
            if isinstance(default, float)
            else f" [{default}]"
        )
        return click.option(
            f"--{flag}", name, default=None, metavar="VALUE", help=f"{field.description}{shown}"
        )
    return click.option(
        f"--{flag}/--no-{flag}", name, default=None, help=f"{field.description}{shown}"
    )


def read_settings(chosen: dict[str, Any]) -> Settings:
    """Return settings from flags (those not None), environment and segsearch.toml.

    Raises:
        UsageError: a value that does not fit its setting.
    """
    try:
        return Settings(**{name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        raise UsageError(sentence_from_validation(error.errors())) from error


def sentence_from_validation(problems: Iterable[Any]) -> str:
    """Say in words what pydantic found wrong with flags, environment or segsearch.toml."""
    said = []
    for problem in problems:
        name = str(problem["loc"][0]) if problem["loc"] else ""
        flag = f"--{name.replace('_', '-')}: " if name else ""
        given = f" (given: {problem['input']!r})" if name else ""
        said.append(f"{flag}{problem['msg']}{given}")
    return "; ".join(said)


def point_from_text(text: str) -> Point:
    """Read `X,Y` or `X,Y,LABEL` (1: inside, 0: outside).

    Raises:
        UsageError: it is neither.
    """
    numbers = _numbers(text)
    if len(numbers) not in (2, 3) or (len(numbers) == 3 and numbers[2] not in (0, 1)):
        raise UsageError(f"--point {text!r}: a point is X,Y or X,Y,0 (0: not this)")
    return Point(x=numbers[0], y=numbers[1], label=int(numbers[2]) if len(numbers) == 3 else 1)


def box_from_text(text: str) -> Box:
    """Read `X,Y,W,H`.

    Raises:
        UsageError: it is something else.
    """
    numbers = _numbers(text)
    if len(numbers) != 4:
        raise UsageError(f"--box {text!r}: a box is X,Y,W,H: left, top, width, height in pixels")
    return Box(*numbers)


def near_from_text(text: str) -> tuple[float, float, float]:
    """Read `LAT,LON,RADIUS_M`.

    Raises:
        UsageError: it is something else.
    """
    numbers = _numbers(text)
    if len(numbers) != 3:
        raise UsageError(f"--near {text!r}: a place is LAT,LON,RADIUS_M, as in 52.52,13.40,5000")
    return numbers[0], numbers[1], numbers[2]


def moment_from_text(text: str) -> datetime:
    """Read a date, or date and time; without an offset it is taken as UTC, as in photos.

    Raises:
        UsageError: it is something else.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a date such as 2024-05-31") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def weighed(text: str) -> tuple[str, float]:
    """Split `WHAT*WEIGHT`; without a weight it is 1."""
    found = re.fullmatch(r"(.+)\*(\d+(?:\.\d+)?)", text)
    return (found[1].strip(), float(found[2])) if found else (text, 1.0)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []
