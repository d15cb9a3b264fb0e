"""JSON encoding of records, vectors and plain values, between two processes of one user."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from search import records
from search.errors import UsageError
from search.records import Record

RECORDS: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (
        records.Photo,
        records.PhotoFacts,
        records.Segment,
        records.Hit,
        records.PhotoHit,
        records.SearchFilter,
    )
}


def wire_from_value(value: Any) -> Any:  # noqa: ANN401
    """Encode records, vectors, sets and plain values as JSON."""
    match value:
        case Record():
            return {"record": type(value).__name__, "fields": value.model_dump(mode="json")}
        case np.ndarray():
            raw = np.ascontiguousarray(value, "<f4").tobytes()
            return {"vectors": base64.b85encode(raw).decode(), "shape": list(value.shape)}
        case set() | frozenset():
            return {"set": sorted(value)}
        case dict():
            return {"dict": {key: wire_from_value(each) for key, each in value.items()}}
        case list() | tuple():
            return [wire_from_value(each) for each in value]
    return value


def value_from_wire(wire: Any) -> Any:  # noqa: ANN401
    """Decode what `wire_from_value` encoded; only known records are created.

    Raises:
        UsageError: the JSON has another form.
    """
    match wire:
        case {"record": name, "fields": fields} if name in RECORDS:
            return RECORDS[name].model_validate_json(json.dumps(fields))
        case {"vectors": text, "shape": shape}:
            return np.frombuffer(base64.b85decode(text), "<f4").reshape(shape).copy()
        case {"set": members}:
            return set(members)
        case {"dict": members}:
            return {key: value_from_wire(each) for key, each in members.items()}
        case list():
            return [value_from_wire(each) for each in wire]
        case None | str() | int() | float():
            return wire
    raise UsageError("an index call could not be decoded")
