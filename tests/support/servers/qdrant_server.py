"""A Qdrant server over real TCP that can go away: the REST calls that segsearch makes.

Collections and points are those of a client in memory, so that answers are Qdrant's own.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from pydantic import BaseModel
from qdrant_client import QdrantClient, models

# resets: it hangs up before it does anything; forgets: it does what is asked, and hangs up then.
Mood = Literal["well", "stalls", "resets", "forgets", "busy"]
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
Call = Callable[[str, Any], Any]
ABOUT = {"version": "1.18.3"}


@dataclass
class QdrantServer:
    """Answers at `url`; after `well_for` more requests its mood becomes `then`."""

    client: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))
    api_key: str | None = None
    mood: Mood = "well"
    asked: list[tuple[str, str]] = field(default_factory=list)
    _after: tuple[int, Callable[[], None]] | None = None
    _port: int = 0

    def __post_init__(self) -> None:
        self._turn = threading.RLock()  # the client in memory is for one thread
        self._let_go = threading.Event()
        self._http: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()
        self.come_back()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def go_away(self) -> None:
        """Refuse connections, and cut those there are."""
        if self._http is not None:
            http, self._http = self._http, None
            http.shutdown()
            http.server_close()
            for connection in list(self._connections):
                _reset(connection)

    def come_back(self) -> None:
        """Answer again, at the same port."""
        self.mood = "well"
        self._let_go.set()
        self._let_go = threading.Event()
        if self._http is None:
            self._http = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
            self._http.daemon_threads = True
            self._port = self._http.server_port
            serve = self._http.serve_forever
            threading.Thread(target=serve, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.come_back()  # so that nobody waits any more
        self.go_away()
        self.client.close()

    def after(self, requests: int, what: Callable[[], None]) -> None:
        """Do something once so many more requests were answered."""
        self._after = (len(self.asked) + requests, what)

    def becomes(self, mood: Mood) -> Callable[[], None]:
        def change() -> None:
            self.mood = mood

        return change

    def points(self, collection: str) -> dict[str, tuple[Any, Any]]:
        """All payloads and vectors of a collection, by id."""
        found, _ = self.client.scroll(collection, limit=1_000_000, with_vectors=True)
        return {str(each.id): (each.payload, each.vector) for each in found}

    def answer(self, method: str, path: str, key: str | None, body: Any) -> tuple[int, Any]:
        """Return a status and a result."""
        if self.api_key is not None and key != self.api_key:
            return 403, {"error": "Invalid API key or JWT"}
        with self._turn:
            self.asked.append((method, path))
            if self._after is not None and len(self.asked) > self._after[0]:
                what, self._after = self._after[1], None
                self.mood = "resets"  # at once: the thread may take a while to begin
                threading.Thread(target=what, daemon=True).start()
            _, _, name, *rest = path.split("/")
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return 200, _result(self.client, method, name, rest, body)
            except ValueError as error:
                return 404, {"error": str(error)}


def _result(client: QdrantClient, method: str, name: str, rest: list[str], body: Any) -> Any:
    match method, rest:
        case "GET", ["exists"]:
            return {"exists": client.collection_exists(name)}
        case "GET", []:
            return client.get_collection(name)
        case "PUT", []:
            asked = models.CreateCollection(**body)
            return client.create_collection(
                name, vectors_config=asked.vectors, metadata=asked.metadata
            )
        case "PATCH", []:
            return client.update_collection(name, metadata=body.get("metadata"))
        case "PUT", ["index"]:
            return {"operation_id": 1, "status": "completed"}
        case "PUT", ["vectors", vector_name]:
            config = models.DenseVectorNameConfig(**body)
            return client.create_vector_name(name, vector_name, config)
        case "DELETE", ["vectors", vector_name]:
            return client.delete_vector_name(name, vector_name)
        case "PUT", ["points"]:
            return client.upsert(name, models.PointsList(**body).points)
        case "PUT", ["points", "vectors"]:
            return client.update_vectors(name, models.UpdateVectors(**body).points)
        case "POST", ["points"]:
            named = models.PointRequest(**body)
            return client.retrieve(
                name,
                named.ids,
                with_payload=named.with_payload or False,
                with_vectors=named.with_vector or False,
            )
        case "POST", ["points", "delete"]:
            chosen = models.FilterSelector if "filter" in body else models.PointIdsList
            return client.delete(name, chosen(**body))
        case "POST", ["points", "payload"]:
            given = models.SetPayload(**body)
            assert given.filter is not None
            return client.set_payload(name, given.payload, given.filter)
        case "POST", ["points", "scroll"]:
            wanted = models.ScrollRequest(**body)
            records, after = client.scroll(
                name,
                scroll_filter=wanted.filter,
                limit=wanted.limit or 10,
                offset=wanted.offset,
                with_payload=wanted.with_payload or False,
                with_vectors=wanted.with_vector or False,
            )
            return {"points": records, "next_page_offset": after}
        case "POST", ["points", "count"]:
            return client.count(name, models.CountRequest(**body).filter)
        case "POST", ["points", "query"]:
            sought = models.QueryRequest(**body)
            return client.query_points(
                name,
                query=sought.query,
                using=sought.using,
                query_filter=sought.filter,
                limit=sought.limit or 10,
                offset=sought.offset or 0,
                score_threshold=sought.score_threshold,
                with_payload=sought.with_payload or False,
            )
    raise ValueError(f"no route for {method} {rest}")


def _plain(result: Any) -> Any:
    if isinstance(result, BaseModel):
        return result.model_dump(mode="json", exclude_none=True)
    if isinstance(result, list | tuple):
        return [_plain(each) for each in result]
    if isinstance(result, dict):
        return {key: _plain(each) for key, each in result.items()}
    return result


def _handler(server: QdrantServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept, as Qdrant does
        disable_nagle_algorithm = True

        def setup(self) -> None:
            server._connections.add(self.request)
            super().setup()

        def finish(self) -> None:
            server._connections.discard(self.request)
            with contextlib.suppress(OSError, ValueError):
                super().finish()

        def handle(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().handle()

        def _answer(self) -> None:
            if self.path == "/" and server.mood == "well":
                return self._send(200, {"title": "qdrant - vector search engine", **ABOUT})
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            path = self.path.partition("?")[0]
            mood = server.mood
            if mood == "stalls":
                server._let_go.wait()
            if mood in ("stalls", "resets"):
                return self._hang_up()
            key = self.headers.get("api-key")
            found = (503, None) if mood == "busy" else server.answer(self.command, path, key, body)
            if mood == "forgets":
                return self._hang_up()
            status, result = found
            said = "ok" if status == 200 else result or {"error": "try again later"}
            self._send(status, {"result": _plain(result), "status": said, "time": 0.0})

        def _send(self, status: int, answer: Any) -> None:
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _hang_up(self) -> None:
            self.close_connection = True
            _reset(self.request)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler


def _reset(connection: socket.socket) -> None:
    """Cut a connection so that the other side sees a reset."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        connection.shutdown(socket.SHUT_RD)
        connection.close()


@contextlib.contextmanager
def qdrant_server(api_key: str | None = None) -> Iterator[QdrantServer]:
    """A server that is up while the block runs."""
    server = QdrantServer(api_key=api_key)
    try:
        yield server
    finally:
        server.stop()
