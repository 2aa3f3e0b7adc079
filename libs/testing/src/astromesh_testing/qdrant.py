"""A stand-in for a Qdrant server: the part of its REST interface that we speak, over the engine of its own client.

What it takes is checked by that client's models of the interface. The suite runs on a real one where QDRANT_URL is set.
Source: https://api.qdrant.tech/api-reference
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

from pydantic_core import to_jsonable_python
from qdrant_client import QdrantClient, models

Answer = Callable[[QdrantClient, str, bytes], object]
"""What an endpoint does with a collection's name and a request's body."""


class QdrantStandIn:
    """Listens on a free port of loopback. Everything is in memory."""

    def __init__(self, api_key: str = "") -> None:
        """Refuses who does not name the key, where there is one."""
        self.api_key = api_key
        self.engine = QdrantClient(":memory:", force_disable_check_same_thread=True)
        self.lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Answers from now on."""
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.engine.close()


@contextmanager
def qdrant_stand_in(api_key: str = "") -> Generator[QdrantStandIn]:
    """Runs a new, empty one within the block."""
    server = QdrantStandIn(api_key)
    server.start()
    try:
        yield server
    finally:
        server.close()


def _exists(engine: QdrantClient, name: str, body: bytes) -> object:
    del body
    return {"exists": engine.collection_exists(name)}


def _create(engine: QdrantClient, name: str, body: bytes) -> object:
    asked = models.CreateCollection.model_validate_json(body)
    return engine.create_collection(name, vectors_config=asked.vectors)


def _info(engine: QdrantClient, name: str, body: bytes) -> object:
    del body
    return engine.get_collection(name)


def _index(engine: QdrantClient, name: str, body: bytes) -> object:
    del engine, name
    models.CreateFieldIndex.model_validate_json(body)
    return {"operation_id": 1, "status": "completed"}


def _upsert(engine: QdrantClient, name: str, body: bytes) -> object:
    return engine.upsert(name, models.PointsList.model_validate_json(body).points)


def _delete(engine: QdrantClient, name: str, body: bytes) -> object:
    given: Mapping[str, object] = json.loads(body)
    selector = models.PointIdsList if "points" in given else models.FilterSelector
    return engine.delete(name, selector.model_validate_json(body))


def _scroll(engine: QdrantClient, name: str, body: bytes) -> object:
    asked = models.ScrollRequest.model_validate_json(body)
    points, offset = engine.scroll(
        name,
        scroll_filter=asked.filter,
        limit=asked.limit or 10,
        offset=asked.offset,
        with_payload=asked.with_payload or False,
        with_vectors=asked.with_vector or False,
    )
    return {"points": points, "next_page_offset": offset}


def _retrieve(engine: QdrantClient, name: str, body: bytes) -> object:
    asked = models.PointRequest.model_validate_json(body)
    return engine.retrieve(name, asked.ids, with_payload=asked.with_payload or False)


def _query(engine: QdrantClient, name: str, body: bytes) -> object:
    asked = models.QueryRequest.model_validate_json(body)
    vector: list[float] = json.loads(body)["query"]["nearest"]
    return engine.query_points(
        name,
        query=vector,
        query_filter=asked.filter,
        limit=asked.limit or 10,
        with_payload=asked.with_payload or False,
        with_vectors=asked.with_vector or False,
    )


_ANSWERS: Mapping[tuple[str, str], Answer] = {
    ("GET", "exists"): _exists,
    ("GET", ""): _info,
    ("PUT", ""): _create,
    ("PUT", "index"): _index,
    ("PUT", "points"): _upsert,
    ("POST", "points"): _retrieve,
    ("POST", "points/delete"): _delete,
    ("POST", "points/scroll"): _scroll,
    ("POST", "points/query"): _query,
}


def _handler_of(server: QdrantStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        do_PUT = do_POST = do_GET  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, reply = self._replied(body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def _replied(self, body: bytes) -> tuple[int, bytes]:
            if self.headers.get("api-key", "") != server.api_key:
                return 403, b'{"status": {"error": "forbidden"}}'
            _, root, name, *rest = self.path.partition("?")[0].split("/", 3)
            answer = _ANSWERS.get((self.command, rest[0] if rest else ""))
            if root != "collections" or answer is None:
                return 404, b'{"status": {"error": "no such endpoint"}}'
            with server.lock:
                try:
                    result = answer(server.engine, name, body)
                except ValueError as error:
                    # A collection that is not there, or is there already; a body that is none.
                    return 400, json.dumps({"status": {"error": str(error)}}).encode()
            told = {"result": to_jsonable_python(result), "status": "ok", "time": 0.0}
            return 200, json.dumps(told).encode()

    return Handler
