"""The way in for other commands of this user, while this process has the library open."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from api.http.problems import ProblemResponse
from api.http.routes.shared import LibraryHere
from api.library.index.remote_index import CALL_PATH, call_index

router = APIRouter(prefix=CALL_PATH, include_in_schema=False)


async def _body_of_owner(request: Request) -> Any:  # noqa: ANN401  (whatever the wire carries)
    """Return the body of a call; it is read only after the token was found right.

    Raises:
        HTTPException: nothing is owned here (404), or the token is another one (401).
    """
    token: str | None = request.app.state.token
    if token is None:
        raise HTTPException(404)
    sent = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not secrets.compare_digest(sent.encode(), token.encode()):
        raise HTTPException(
            401,
            "the token is not that of the process that has the library open; it may have been "
            "started anew. Run the command again.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    try:
        return await request.json()
    except ValueError as error:
        raise HTTPException(400, "it is not JSON") from error


Call = Annotated[Any, Depends(_body_of_owner)]


@router.post("/{method}")
def call(library: LibraryHere, method: str, body: Call) -> Response:
    """Call a method of the index; a ValueError of its contract travels under its own name."""
    try:
        return JSONResponse(call_index(library.index(), method, body))
    except ValueError as error:
        return ProblemResponse(422, str(error), ValueError.__name__)
