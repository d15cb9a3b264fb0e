"""Sign in and out: image requests of a browser can carry a cookie, but no key."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.http.auth.access import COOKIE, SESSION_PATH
from api.http.auth.authentication import (
    SESSION_S,
    Authenticator,
    address_of_client,
    session_from_headers,
)
from api.http.problems import ProblemResponse
from api.http.routes.shared import JsonRoute, problems
from api.schemas.library import KeyIn
from search.errors import UsageError

router = APIRouter(tags=["session"], route_class=JsonRoute)


async def _authenticator(request: Request) -> Authenticator:
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator


AuthenticatorDep = Annotated[Authenticator, Depends(_authenticator)]


@router.post(
    SESSION_PATH,
    summary="Sign in",
    status_code=204,
    response_class=Response,
    responses=problems(401, 422, 429),
)
async def sign_in(request: Request, authenticator: AuthenticatorDep, body: KeyIn) -> Response:
    """Exchange a key for a cookie with the same access, for 30 days or until a restart."""
    if not authenticator.keyring:
        raise UsageError("this server needs no key: there is no need to sign in")
    access = authenticator.try_key(body.key, address_of_client(request.scope))
    if isinstance(access, ProblemResponse):
        return access
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        authenticator.sessions.start(access),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.delete(SESSION_PATH, summary="Sign out", status_code=204, response_class=Response)
async def sign_out(request: Request, authenticator: AuthenticatorDep) -> Response:
    """End the session of the cookie, if there is one."""
    authenticator.sessions.end(session_from_headers(request.headers) or "")
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
