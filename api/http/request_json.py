"""Parse JSON bodies, with limits on keys, values and text before validation."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json
from starlette.exceptions import HTTPException

MAX_KEYS = 1_000
MAX_VALUES = 10_000
MAX_CHARACTERS = 1_000_000
IMAGE_FIELD = "image_base64"  # the one long field; exempt from the text limit


def parse_json(body: bytes) -> Any:  # noqa: ANN401  (any JSON)
    """Parse a request body.

    Raises:
        json.JSONDecodeError: it is not JSON.
        HTTPException: it has too many keys or values, is nested too deeply, or holds invalid
            Unicode.
    """
    if body.count(b",") > MAX_VALUES:  # text has few; base64 images and masks have none
        raise _refused(f"it has more than {MAX_VALUES:,} values")
    try:
        parsed = from_json(body)
    except ValueError as error:
        raise _reason_from(body) from error
    _check_counts(parsed)
    return parsed


def _reason_from(body: bytes) -> Exception:
    """Why a body is refused: the JSON error, or what only the strict parser rejects."""
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
    except UnicodeDecodeError as error:  # for example JSON in UTF-16
        return _refused(str(error))
    return _refused("it is nested too deeply, or holds text with invalid Unicode")


def _check_counts(parsed: Any) -> None:  # noqa: ANN401
    """Refuse more keys, values or text than any request needs."""
    keys = values = characters = 0
    stack = [parsed]
    while stack:
        each = stack.pop()
        values += 1
        if isinstance(each, dict):
            keys += len(each)
            stack.extend(value for name, value in each.items() if name != IMAGE_FIELD)
        elif isinstance(each, list):
            stack.extend(each)
        elif isinstance(each, str):
            characters += len(each)
        if characters > MAX_CHARACTERS:
            raise _refused(f"it has more than {MAX_CHARACTERS:,} characters besides images")
        if keys > MAX_KEYS:
            raise _refused(f"it has more than {MAX_KEYS:,} keys")
        if values + len(stack) > MAX_VALUES:
            raise _refused(f"it has more than {MAX_VALUES:,} values")


def _refused(why: str) -> HTTPException:
    return HTTPException(422, why)
