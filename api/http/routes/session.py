"""Signing in and out: a browser can't send a key with every picture, but a cookie."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.http.auth.access import COOKIE, SESSION_PATH
from api.http.auth.authentication import SESSION_S, Door, address_of_client, session_from_headers
from api.http.problems import ProblemResponse
from api.http.routes.shared import QuickJson, problems
from api.schemas.library import KeyIn
from search.errors import UsageError

router = APIRouter(tags=["session"], route_class=QuickJson)


async def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


DoorHere = Annotated[Door, Depends(_door)]


@router.post(
    SESSION_PATH,
    summary="Sign a browser in",
    status_code=204,
    response_class=Response,
    responses=problems(401, 422, 429),
)
async def sign_in(request: Request, door: DoorHere, sent: KeyIn) -> Response:
    """Take a key and set a cookie that allows the same, for 30 days or until the server ends."""
    if not door.keyring:
        raise UsageError("this server asks for no key: there is nothing to sign in to")
    access = door.try_key(sent.key, address_of_client(request.scope))
    if isinstance(access, ProblemResponse):
        return access
    answer = Response(status_code=204)
    answer.set_cookie(
        COOKIE,
        door.sessions.begin(access),
        max_age=SESSION_S,
        httponly=True,  # out of reach of scripts
        samesite="strict",  # and of other sites
        secure=request.url.scheme == "https",
    )
    return answer


@router.delete(SESSION_PATH, summary="Sign it out", status_code=204, response_class=Response)
async def sign_out(request: Request, door: DoorHere) -> Response:
    """End the session that the cookie names, if there is one."""
    door.sessions.end(session_from_headers(request.headers) or "")
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
