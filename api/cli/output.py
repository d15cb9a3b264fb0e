"""Printing of results."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click


def echo_json(document: object) -> None:
    """Print a JSON document, indented."""
    click.echo(json.dumps(document, indent=2))


def echo_first(lines: Sequence[str], limit: int, hint: str = "") -> None:
    """Print the first lines on stderr, and how many more there are."""
    for line in lines[:limit]:
        click.echo(line, err=True)
    if len(lines) > limit:
        click.echo(f"and {len(lines) - limit} more{hint}", err=True)
