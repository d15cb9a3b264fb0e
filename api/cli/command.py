"""Commands that use or refuse what they are given: click itself takes the last of two values."""

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
FOR_TESTS = f"{PREFIX}TEST_"  # read by the tests of segsearch, not by segsearch


class StrictCommand(click.Command):
    """A command that refuses an option given twice, and values that are no text."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments.

        Raises:
            click.UsageError: an option that takes one value is given twice, or a value is no text.
        """
        given = list(args)
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            self._refuse_repeated(ctx, given)
            self._refuse_no_text(ctx)
        return rest

    def _refuse_repeated(self, ctx: click.Context, args: list[str]) -> None:
        _, _, order = self.make_parser(ctx).parse_args(args)
        for param, times in Counter(order).items():
            if isinstance(param, click.Option) and times > 1 and not param.multiple:
                raise click.UsageError(f"{'/'.join(param.opts)} can be given only once", ctx)

    def _refuse_no_text(self, ctx: click.Context) -> None:
        """Refuse bytes that are no text in what is no path: Python keeps them as surrogates."""
        for param in self.params:
            if not isinstance(param.type, StringParamType):
                continue
            for value in _values(ctx.params.get(param.name or "")):
                if not is_text(value):
                    name = param.opts[0] if isinstance(param, click.Option) else param.name
                    raise click.UsageError(f"{name}: {value!r} is no text in UTF-8", ctx)


def _values(value: Any) -> Iterable[str]:  # noqa: ANN401  (whatever click has parsed)
    values = value if isinstance(value, tuple) else (value,)
    return (each for each in values if isinstance(each, str))


def refuse_unused(names: Iterable[str], why: str) -> None:
    """Refuse those of the running command's options that a person gave and that have no effect.

    Args:
        names: the parameters, as the command is called with them.
        why: what is to be done instead, or when they have an effect.

    Raises:
        UsageError: one was given.
    """
    ctx, wanted = click.get_current_context(), set(names)
    given = [
        param.opts[0]
        for param in ctx.command.params
        if param.name in wanted
        and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"{', '.join(given)}: no effect here; {why}")


def tell_unknown_variables() -> None:
    """Name on stderr what looks like a setting in the environment and is none."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(os.environ):
        called = name.upper()
        if not called.startswith(PREFIX) or called.startswith(FOR_TESTS) or called in known:
            continue
        like = get_close_matches(called, known, n=1)
        meant = f"; did you mean {like[0]}?" if like else ""
        click.echo(f"segsearch: there is no setting {name}: it has no effect{meant}", err=True)
