"""Strict commands: repeated options and options without effect are errors."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import click
from click.core import ParameterSource
from click.types import StringParamType

from api.settings import Settings
from search.errors import UsageError
from search.records import is_text

PREFIX = str(Settings.model_config["env_prefix"])
TEST_PREFIX = f"{PREFIX}TEST_"  # read by the tests only


class StrictCommand(click.Command):
    """A command that refuses repeated options (click takes the last) and invalid UTF-8."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments.

        Raises:
            click.UsageError: a single-valued option is repeated, or a value is not UTF-8.
        """
        given = list(args)
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            self._refuse_repeated(ctx, given)
            self._refuse_invalid_text(ctx)
        return rest

    def _refuse_repeated(self, ctx: click.Context, args: list[str]) -> None:
        _, _, order = self.make_parser(ctx).parse_args(args)
        for param, times in Counter(order).items():
            if isinstance(param, click.Option) and times > 1 and not param.multiple:
                raise click.UsageError(f"{'/'.join(param.opts)} can be given only once", ctx)

    def _refuse_invalid_text(self, ctx: click.Context) -> None:
        """Refuse invalid UTF-8, which Python decodes to surrogates, except in paths."""
        for param in self.params:
            if not isinstance(param.type, StringParamType):
                continue
            for value in _values(ctx.params.get(param.name or "")):
                if not is_text(value):
                    name = param.opts[0] if isinstance(param, click.Option) else param.name
                    raise click.UsageError(f"{name}: {value!r} is not valid UTF-8", ctx)


def _values(value: Any) -> Iterable[str]:  # noqa: ANN401  (any parsed value)
    values = value if isinstance(value, tuple) else (value,)
    return (each for each in values if isinstance(each, str))


def refuse_unused(names: Iterable[str], why: str) -> None:
    """Refuse options of the running command that have no effect.

    Args:
        names: the parameter names.
        why: when they have an effect, or what to do instead.

    Raises:
        UsageError: one of them is on the command line.
    """
    ctx, unused = click.get_current_context(), set(names)
    given = [
        param.opts[0]
        for param in ctx.command.params
        if param.name in unused
        and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"{', '.join(given)}: no effect here; {why}")


def warn_about_unknown_variables() -> None:
    """Warn on stderr about environment variables with our prefix that are no settings."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(os.environ):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper.startswith(TEST_PREFIX) or upper in known:
            continue
        similar = get_close_matches(upper, known, n=1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        click.echo(f"segsearch: there is no setting {name}: it has no effect{hint}", err=True)
