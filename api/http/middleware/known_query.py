"""Query parameters that a route does not know are refused: a misspelled filter would be none."""

from __future__ import annotations

from fastapi import Request

from search.errors import UsageError


async def only_known_query(request: Request) -> None:
    """Refuse what a route of the API would ignore.

    Raises:
        UsageError: a query parameter that the route does not have, or one of a single value twice.
    """
    if not request.url.query:
        return
    path = request.scope["route"].path_format
    described = request.app.openapi()["paths"].get(path)
    if described is None:  # the page's own routes are not described
        return
    parameters = described[request.method.lower()].get("parameters", ())
    known = {each["name"]: each["schema"] for each in parameters if each["in"] == "query"}
    for name, _ in request.query_params.multi_items():
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{name}: there is no such field in the query of {path}; {has}")
        if len(request.query_params.getlist(name)) > 1 and not _takes_many(known[name]):
            raise UsageError(f"{name}: it is in the query more than once; give one value")


def _takes_many(schema: dict[str, object]) -> bool:
    """Say whether a parameter is a list, perhaps an absent one."""
    kinds = schema.get("anyOf", [schema])
    return isinstance(kinds, list) and any(kind.get("type") == "array" for kind in kinds)
