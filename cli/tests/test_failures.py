"""How an answer of the mesh becomes an exit code and a message."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import orjson
import pytest
from pydantic import JsonValue

from astromesh_cli.client.failures import waiting

from .conftest import Terminal


@contextmanager
def answering(nowhere: Terminal, status: int, body: bytes) -> Generator[Terminal]:
    """A server that answers every request alike, instead of a mesh."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield Terminal(f"http://127.0.0.1:{server.server_port}", nowhere.folder)
        finally:
            server.shutdown()
            thread.join()


def problem(**members: JsonValue) -> bytes:
    return orjson.dumps({"type": "about:blank", "title": "Refused", "detail": "because", **members})


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, 77, "set ASTROMESH_API_KEY"),
        (403, 77, "Refused: because"),
        (429, 75, "try again in 2"),
        (503, 75, "Refused: because"),
        (404, 1, "Refused: because"),
        (500, 1, "run 17-x (astromesh runs show 17-x)"),
    ],
)
def test_a_refusal_ends_with_its_code_and_one_message(nowhere: Terminal, status: int, code: int, said: str) -> None:
    with answering(nowhere, status, problem(retry_after=2, run_id="17-x")) as terminal:
        assert said in terminal("get", "agents", code=code).err
        assert terminal("get", "agents", "--json", code=code).document()["run_id"] == "17-x"


def test_every_reason_of_an_invalid_resource_stands_on_a_line(nowhere: Terminal) -> None:
    body = problem(errors=[{"path": "spec.a", "reason": "is wrong", "hint": "write b"}, {"path": "", "reason": "late"}])
    with answering(nowhere, 422, body) as terminal:
        assert terminal("get", "agents", code=1).err == "error: Refused\n  spec.a: is wrong (write b)\n  late\n"


def test_a_server_that_is_no_mesh_is_told_apart(nowhere: Terminal) -> None:
    with answering(nowhere, 200, b"<html>hello</html>") as terminal:
        assert "and no JSON" in terminal("get", "agents", code=1).err


def test_a_replay_that_differs_and_a_broken_chain_end_with_1(nowhere: Terminal) -> None:
    difference: JsonValue = {"index": 4, "path": "3", "recorded": '{"a": 1, "b": 2}', "replayed": '{"a": 1, "b": 3}'}
    differs = {"run_id": "17-x", "identical": False, "verdict": "different", "events": 9, "duration_ms": 1.0}
    with answering(nowhere, 200, orjson.dumps({**differs, "difference": difference})) as terminal:
        out = terminal("runs", "replay", "17-x", code=1).out
        assert "first difference: event 4 at step 3" in out
        assert '-  "b": 2' in out
        assert '+  "b": 3' in out
        assert terminal("runs", "replay", "17-x", "--json", code=1).document()["identical"] is False
    broken = {"run_id": "17-x", "ok": False, "events": 9, "broken_at": 3, "reason": "a gap"}
    with answering(nowhere, 200, orjson.dumps(broken)) as terminal:
        assert "chain broken at event 3: a gap" in terminal("runs", "verify", "17-x", code=1).out


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "1 s"), (119, "119 s"), (121, "3 min"), (28_335.7, "7 h 53 min")])
def test_a_wait_is_told_as_people_say_it(seconds: float, said: str) -> None:
    assert waiting(seconds) == said
