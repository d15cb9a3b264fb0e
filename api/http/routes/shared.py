"""Shared by routes: the library dependency, fast JSON, and problem responses for OpenAPI."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import Response

from api.http.problems import MEDIA_TYPE
from api.http.request_json import parse_json
from api.library.library import Library

MAX_LONG_SIDE_PX = 20_000

_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REASONS = {
    401: "The key is missing or wrong.",
    404: "Nothing has that id, or no file of the photo is available.",
    409: "Conflict: another operation is running, or the models differ; see `detail`.",
    413: "Too many bytes or pixels.",
    422: "The request is invalid; see `detail`.",
    429: "Too many wrong keys; see `Retry-After`.",
    500: "Internal error; see the server's log.",
    503: "A model or the vector store is unavailable, or the server is busy.",
}

LongSide = Annotated[
    int | None,
    Query(
        ge=1,
        le=MAX_LONG_SIDE_PX,
        description="Long side in pixels; never enlarged. Absent: full size.",
    ),
]


async def _library(request: Request) -> Library:
    library: Library = request.app.state.library
    return library


LibraryDep = Annotated[Library, Depends(_library)]


class JsonRoute(APIRoute):
    """A route with faster JSON.

    Bodies are parsed by `parse_json`, more than twice as fast as by `json`: the event loop is
    blocked meanwhile, for 110 ms by `json` with the largest base64 image. Sync endpoints serialize
    their response in their own thread; FastAPI would validate it in a second thread and serialize
    it in the event loop.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401
        status = options.get("status_code") or HTTPStatus.OK
        super().__init__(path, _serializing(endpoint, status), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route handler, with requests that parse JSON by `parse_json`."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_json


def _serializing(endpoint: Callable[..., Any], status: int) -> Callable[..., Any]:
    """Wrap a sync endpoint so that it returns the JSON response of its record."""
    if iscoroutinefunction(endpoint):
        return endpoint

    @wraps(endpoint)
    def respond(*args: object, **kwargs: object) -> object:
        record = endpoint(*args, **kwargs)
        if not isinstance(record, BaseModel):
            return record
        return Response(record.model_dump_json(), status, media_type="application/json")

    return respond


class _JsonRequest(Request):
    async def json(self) -> Any:  # noqa: ANN401  (any JSON)
        return parse_json(await self.body())


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem responses of a route, for OpenAPI."""
    return {status: {"description": _REASONS[status], "content": _PROBLEM} for status in statuses}


def describe_failures(document: dict[str, Any]) -> None:
    """Add the problems that any request may cause to an OpenAPI document."""
    for routes in document["paths"].values():
        for route in routes.values():
            for status, response in problems(500, 503).items():
                route["responses"].setdefault(str(status), response)
