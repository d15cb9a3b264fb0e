"""Index calls by other commands of this user while this process has the library open."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from api.http.problems import ProblemResponse
from api.http.routes.shared import LibraryDep
from api.library.index.remote_index import CALL_PATH, call_index

router = APIRouter(prefix=CALL_PATH, include_in_schema=False)


async def _authorized_body(request: Request) -> Any:  # noqa: ANN401  (any JSON)
    """The body of a call, read only after the token was checked.

    Raises:
        HTTPException: this process does not own the index (404), or the token is wrong (401).
    """
    token: str | None = request.app.state.token
    if token is None:
        raise HTTPException(404)
    sent = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not secrets.compare_digest(sent.encode(), token.encode()):
        raise HTTPException(
            401,
            "the token is not that of the process that has the library open, which may have been "
            "restarted. Run the command again.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    try:
        return await request.json()
    except ValueError as error:
        raise HTTPException(400, "it is not JSON") from error


Call = Annotated[Any, Depends(_authorized_body)]


@router.post("/{method}")
def call(library: LibraryDep, method: str, body: Call) -> Response:
    """Call a method of the index; its ValueErrors are sent by name."""
    try:
        return JSONResponse(call_index(library.index(), method, body))
    except ValueError as error:
        return ProblemResponse(422, str(error), ValueError.__name__)
