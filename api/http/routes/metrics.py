"""What Prometheus reads."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse
from starlette.responses import Response

from api.http.metrics import CONTENT_TYPE, Metrics

router = APIRouter(tags=["library"])


async def _metrics(request: Request) -> Metrics:
    found: Metrics = request.app.state.metrics
    return found


@router.get("/metrics", summary="Counts and times for Prometheus", response_class=PlainTextResponse)
def metrics(metrics: Annotated[Metrics, Depends(_metrics)]) -> Response:
    """Return requests, stages, waiting segmentings, loading times and the library's size."""
    return Response(metrics.text(), media_type=CONTENT_TYPE)
