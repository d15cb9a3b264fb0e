"""Errors as RFC 9457 problem responses."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.http.remedies import advice_on
from api.schemas.problems import Problem
from search.errors import (
    AccessError,
    BusyError,
    LibraryError,
    ModelError,
    OwnedError,
    PhotoError,
    SegsearchError,
    StoreError,
    StoreUnreachableError,
    TooLargeError,
    UnknownIdError,
    UsageError,
)

MEDIA_TYPE = "application/problem+json"
STATUSES: dict[type[SegsearchError], int] = {
    UnknownIdError: 404,
    UsageError: 422,
    TooLargeError: 413,
    PhotoError: 422,
    LibraryError: 409,
    ModelError: 503,
    StoreUnreachableError: 503,
    StoreError: 500,
    AccessError: 401,
    BusyError: 503,
    SegsearchError: 500,
}
RETRY_AFTER_S = 5
UNEXPECTED = "internal error; the server's log says more"
_logger = logging.getLogger(__name__)


class ProblemResponse(Response):
    """A response with a problem as its body."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        status: int,
        detail: str,
        error: str,
        headers: Mapping[str, str] | None = None,
        *,
        remedy: str | None = None,
        advice: str | None = None,
    ) -> None:
        problem = Problem.model_construct(
            title=HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            error=error,
            remedy=remedy,
            advice=advice,
        )
        # ASCII JSON: a detail may quote lone surrogates, which UTF-8 can't encode.
        body = json.dumps(problem.model_dump(warnings=False, exclude_none=True))
        super().__init__(body, status, headers)


def status_of(error: SegsearchError, method: str) -> int:
    """The status code of an error.

    A PhotoError is 404 for GET, where the photo is the resource, and 422 where it is part of the
    request.
    """
    if method == "GET" and isinstance(error, PhotoError):
        return 404
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def problem_of(error: SegsearchError, method: str) -> Problem:
    """The problem that describes one of our own errors."""
    status = status_of(error, method)
    return Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=str(error),
        error=type(error).__name__,
        remedy=error.remedy,
        advice=advice_on(error),
    )


def problem_from_error(request: Request, error: Exception) -> Response:
    """Handle one of our own errors."""
    assert isinstance(error, SegsearchError)
    status = status_of(error, request.method)
    if status >= 500:
        _logger.warning("%s %s: %s", request.method, request.url.path, error)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if isinstance(error, BusyError) else None
    kind, advice = type(error).__name__, advice_on(error)
    return ProblemResponse(status, str(error), kind, headers, remedy=error.remedy, advice=advice)


def problem_from_validation(_: Request, error: Exception) -> Response:
    """Handle a request that fails validation."""
    assert isinstance(error, RequestValidationError)
    return ProblemResponse(422, sentence_from_validation(error.errors()), UsageError.__name__)


def problem_from_http(request: Request, error: Exception) -> Response:
    """Handle errors of the framework: unknown routes, wrong methods, malformed bodies."""
    assert isinstance(error, HTTPException)
    path, status, kind = request.url.path, error.status_code, UsageError.__name__
    match status:
        case 404:
            detail = f"there is nothing at {path}; /openapi.json lists all routes"
        case 405:
            detail = f"{path} does not support {request.method}; /openapi.json lists its methods"
        case 401:
            detail, kind = error.detail, OwnedError.__name__
        case 413:
            detail, kind = error.detail, TooLargeError.__name__
        case _:
            status, detail = 422, f"the body can't be read: {error.detail}"
    return ProblemResponse(status, detail, kind, error.headers)


def sentence_from_validation(problems: Sequence[Any]) -> str:
    """Describe the first validation error and its field in one sentence."""
    first, more = problems[0], len(problems) - 1
    rest = f" (and {more} more)" if more else ""
    if first["type"] == "json_invalid" and isinstance(first["loc"][-1], int):
        return f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return f"{where}: {_message(first)}{rest}"


def _message(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return "there is no such field; /openapi.json lists all fields"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def add_problem_handlers(app: FastAPI) -> None:
    """Answer all expected errors with problem responses."""
    app.add_exception_handler(SegsearchError, problem_from_error)
    app.add_exception_handler(RequestValidationError, problem_from_validation)
    app.add_exception_handler(HTTPException, problem_from_http)
