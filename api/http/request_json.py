"""JSON that was sent, as plain values: bounded before anything is made of them."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json
from starlette.exceptions import HTTPException

MAX_KEYS = 1_000
MAX_VALUES = 10_000
MAX_CHARACTERS = 1_000_000
PICTURE = "image_base64"  # the one field that may be long; it is never read as text


def values_from_json(body: bytes) -> Any:  # noqa: ANN401  (whatever was sent)
    """Return what a body says.

    Raises:
        json.JSONDecodeError: it is no JSON.
        HTTPException: it has more keys or values than any request needs, is nested too deeply, or
            holds text that is no Unicode.
    """
    if body.count(b",") > MAX_VALUES:  # text has few, pictures as base64 and masks have none
        raise _refused(f"it has more than {MAX_VALUES:,} values")
    try:
        found = from_json(body)
    except ValueError as error:
        raise _reason_from(body) from error
    _check_counts(found)
    return found


def _reason_from(body: bytes) -> Exception:
    """Return why a body is refused: where it is no JSON, or else what the parser did not take."""
    try:
        json.loads(body)
    except json.JSONDecodeError as error:
        return error
    except RecursionError:
        return _refused("it is nested too deeply")
    except ValueError as error:
        return _refused(str(error))
    try:
        body.decode()
    except UnicodeDecodeError as error:  # it is JSON in UTF-16, say
        return _refused(str(error))
    return _refused("it is nested too deeply, or holds text that is no Unicode (half a surrogate)")


def _check_counts(found: Any) -> None:  # noqa: ANN401
    """Refuse more keys or values than any request needs."""
    keys = values = characters = 0
    left = [found]
    while left:
        each = left.pop()
        values += 1
        if isinstance(each, dict):
            keys += len(each)
            left.extend(value for name, value in each.items() if name != PICTURE)
        elif isinstance(each, list):
            left.extend(each)
        elif isinstance(each, str):
            characters += len(each)
        if characters > MAX_CHARACTERS:
            raise _refused(f"it has more than {MAX_CHARACTERS:,} characters besides pictures")
        if keys > MAX_KEYS:
            raise _refused(f"it has more than {MAX_KEYS:,} keys")
        if values + len(left) > MAX_VALUES:
            raise _refused(f"it has more than {MAX_VALUES:,} values")


def _refused(why: str) -> HTTPException:
    return HTTPException(422, why)
