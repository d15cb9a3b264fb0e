"""Unknown query parameters are refused: a misspelled filter would silently have no effect."""

from __future__ import annotations

from fastapi import Request

from search.errors import UsageError


async def check_query_parameters(request: Request) -> None:
    """Refuse query parameters that the route would ignore.

    Raises:
        UsageError: the route has no such parameter, or a single-valued one is repeated.
    """
    if not request.url.query:
        return
    path = request.scope["route"].path_format
    documented = request.app.openapi()["paths"].get(path)
    if documented is None:  # the routes of the web page are not in the OpenAPI document
        return
    parameters = documented[request.method.lower()].get("parameters", ())
    known = {each["name"]: each["schema"] for each in parameters if each["in"] == "query"}
    for name, _ in request.query_params.multi_items():
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{name}: there is no such query parameter of {path}; {has}")
        if len(request.query_params.getlist(name)) > 1 and not _is_list(known[name]):
            raise UsageError(f"{name}: it is in the query more than once; give one value")


def _is_list(schema: dict[str, object]) -> bool:
    """Whether a parameter takes a list, possibly an optional one."""
    options = schema.get("anyOf", [schema])
    return isinstance(options, list) and any(each.get("type") == "array" for each in options)
