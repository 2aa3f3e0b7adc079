"""Following a run over connections that break."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import orjson
import pytest

from astromesh_cli.client.failures import Unreachable
from astromesh_cli.client.mesh import MeshClient, Target
from astromesh_cli.client.streams import asked, followed

RUN = "17-x"


def message(index: int, name: str = "step") -> bytes:
    """A stored event."""
    return f"id: {index}\nevent: {name}\ndata: ".encode() + orjson.dumps({"run_id": RUN, "index": index}) + b"\n\n"


@contextmanager
def breaking(*parts: bytes, then: int = 200) -> Generator[tuple[MeshClient, list[str]]]:
    """A mesh whose connections break: each request gets the next part; then the status `then`. Ids asked for are
    noted."""
    left, resumed = list(parts), list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            resumed.append(self.headers.get("Last-Event-ID", ""))
            self.send_response(200 if left else then)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("X-Run-Id", RUN)
            # More than comes: the client sees that the connection broke.
            self.send_header("Content-Length", "100000" if left else "0")
            self.end_headers()
            if left:
                self.wfile.write(left.pop(0))

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            with MeshClient(Target(f"http://127.0.0.1:{server.server_port}")) as mesh:
                yield mesh, resumed
        finally:
            server.shutdown()
            thread.join()


def test_a_lost_stream_goes_on_after_the_last_stored_event() -> None:
    token = b'event: token\ndata: {"run_id": "17-x", "text": "a"}\n\n'
    with breaking(message(0) + message(1) + token, message(2), message(3, "done")) as (mesh, resumed):
        told = [(event.name, event.id) for event in asked(mesh, "agent", {"query": "x"})]
    assert told == [("run", ""), ("step", "0"), ("step", "1"), ("token", ""), ("step", "2"), ("done", "3")]
    assert resumed == ["", "1", "2"]


def test_a_run_that_ended_meanwhile_ends_the_stream() -> None:
    with breaking(message(0), then=204) as (mesh, _):
        assert [event.name for event in followed(mesh, RUN)] == ["step", "ended"]


def test_a_mesh_that_stays_away_is_told_after_some_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astromesh_cli.client.streams._PAUSES", (0.0, 0.0))
    with breaking(message(0), b"", b"") as (mesh, resumed), pytest.raises(Unreachable):
        list(followed(mesh, RUN))
    assert resumed == ["", "0", "0"]
