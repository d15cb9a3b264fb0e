"""The endpoint for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse
from starlette.responses import Response

from api.http.metrics import CONTENT_TYPE, Metrics

router = APIRouter(tags=["library"])


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
def metrics(metrics: Annotated[Metrics, Depends(_metrics)]) -> Response:
    """Return metrics of requests, their stages, the segmenter queue, load times and the library."""
    return Response(metrics.text(), media_type=CONTENT_TYPE)
