"""Export of segments."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from api.http.routes.shared import LibraryDep, problems
from api.schemas.search import SearchRequest
from api.services.browse import ExportQuery
from api.services.export import iter_coco, iter_filtered, iter_hits
from api.services.search import search

router = APIRouter(prefix="/v1", tags=["export"])
AS_FILE = {"Content-Disposition": 'attachment; filename="segsearch-coco.json"'}
COCO = {"schema": {"type": "object", "description": "COCO: info, categories, annotations, images"}}


@router.get(
    "/export",
    summary="Segments as a COCO file",
    response_class=StreamingResponse,
    responses={
        200: {"description": "A COCO document.", "content": {"application/json": COCO}},
        **problems(422, 503),
    },
)
def export(library: LibraryDep, query: Annotated[ExportQuery, Query()]) -> StreamingResponse:
    """Stream segments, with RLE masks at the photos' full size, and their photos.

    A search runs before the response starts; filtered photos are read while streaming.
    """
    where = query.where()
    if query.text is None:
        found = iter_filtered(library, where)
    else:
        request = SearchRequest(text=query.text, filter=where, limit=query.limit)
        found = iter_hits(library, search(library, request).hits)
    return StreamingResponse(iter_coco(found), media_type="application/json", headers=AS_FILE)
