"""The OpenAPI document and the server: whatever is sent is answered as described, never by 5xx."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.fakes import add_photos, make_library
from support.servers.api_samples import SAMPLE

from api.http.app import create_app
from api.services.jobs import Jobs
from search.records import SearchFilter

# For each route, of what fits and of what does not; the whole takes about half a minute.
EXAMPLES = int(os.environ.get("SEGSEARCH_TEST_EXAMPLES", "6"))
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
HEADERS = {"Host": "127.0.0.1"}


@pytest.fixture(scope="module")
def api_schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The description of a small library's API; ids that are sent exist half of the time."""
    folder = tmp_path_factory.mktemp("openapi")
    with make_library(folder / "library") as library:
        add_photos(library, folder / "photos", SAMPLE)
        photo_id = library.ledger().photos(SearchFilter(), limit=1)[0].photo.photo_id
        segment_id = sorted(library.index().segment_ids_of(photo_id))[0]
        known = {"photo_id": photo_id, "segment_id": segment_id}
        app = create_app(library, jobs=Jobs(("/bin/true",)))
        schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HEADERS)

        @schema.hook
        def map_path_parameters(context: Any, path_parameters: Any) -> Any:
            """Name what is there, unless it would be deleted."""
            sent = str(path_parameters)
            if not path_parameters or context.operation.method == "delete" or len(sent) % 2:
                return path_parameters
            return {name: known.get(name, sent) for name, sent in path_parameters.items()}

        @schema.hook
        def map_body(context: Any, body: Any) -> Any:
            """Search for something: that one thing must be named, schemas can't say."""
            searches = body.get("searches", [body]) if isinstance(body, dict) else []
            for search in searches if context.operation.path.startswith("/v1/search") else []:
                if isinstance(search, dict) and not search.get("positive"):
                    search["text"] = search.get("text") or "red"
            return body

        yield schema


@pytest.mark.slow
def test_responses_match_the_openapi_document(api_schema: Any) -> None:
    problems, answered = {}, Counter[int]()
    operations = [described.ok() for described in api_schema.get_all_operations()]
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                answered += send_many(operation, mode)
            except Unsatisfiable:
                continue  # nothing about this route could be wrong
            except Exception as error:  # the others are tried all the same
                problems[f"{operation.label} {mode}"] = str(error)
    assert not problems, "\n\n".join(f"{label}\n{said}" for label, said in problems.items())
    assert answered[200] > len(operations)  # much of it made sense


def send_many(operation: Any, mode: GenerationMode) -> Counter[int]:
    """Send what fits the description, or what does not; return how often each status came back."""
    answered = Counter[int]()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any) -> None:
        answer = case.call(headers=HEADERS)
        if operation.path != "/ready" or answer.status_code != 503:  # its models may be loading
            case.validate_response(answer, checks=CHECKS)
        answered[answer.status_code] += 1

    send()
    return answered
