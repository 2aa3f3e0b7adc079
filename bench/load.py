"""A load generator in a process of its own: keeps a number of requests under way and reports each one's time.

python bench/load.py '{"port": 8000, "path": "/v1/agents/x/run", "at_once": 64, "requests": 2000, "expect": "two"}'

Written on the bare protocol, so that it takes little of the core that it shares with the model.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import cast

import httptools
import uvloop
from figures import Latencies
from processes import cores


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked, how often and how many at once. `first` measures until these bytes come, not until the end."""

    port: int
    path: str
    at_once: int
    requests: int
    expect: str
    warm: int = 50
    first: str = ""
    body: dict[str, str] = field(default_factory=lambda: {"query": "What is two and two?"})
    session: str = "session_id"
    """The field that gives each request a session of its own; empty for none."""


def generate(load: Load) -> Latencies:
    """Runs the load in a process of its own, on the core of load and model."""
    command = ["taskset", "-c", str(cores()[1]), sys.executable, __file__, json.dumps(asdict(load))]
    # A file and no pipe: the result may be larger than a pipe holds.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the load failed: {done.stderr[-2000:]}")
        output.seek(0)
        result = json.load(output)
    return Latencies(result["wall"], result["each"])


class _Client(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._first = load.first.encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self) -> float:
        load = self._load
        body = {**load.body, load.session: secrets.token_hex(8)} if load.session else load.body
        data = json.dumps(body).encode()
        stream = "accept: text/event-stream\r\n" if load.first else ""
        head = (
            f"POST {load.path} HTTP/1.1\r\nhost: 127.0.0.1:{load.port}\r\ncontent-type: application/json\r\n"
            f"{stream}content-length: {len(data)}\r\n\r\n"
        )
        self._parser = httptools.HttpResponseParser(self)
        self._received = b""
        self._seen = 0.0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        begun = time.perf_counter()
        self._transport.write(head.encode() + data)
        await self._done
        ended = time.perf_counter()
        if self._parser.get_status_code() != 200 or load.expect.encode() not in self._received:
            raise RuntimeError(f"an answer that was not expected: {self._received[:500]!r}")
        return (self._seen or ended) - begun

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def on_body(self, data: bytes) -> None:
        self._received += data
        if self._first and not self._seen and self._first in self._received:
            self._seen = time.perf_counter()

    def on_message_complete(self) -> None:
        self._done.set_result(None)


async def drive(load: Load) -> dict[str, object]:
    """The load from one loop: a connection for each request under way."""
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: _Client(load), "127.0.0.1", load.port) for _ in range(load.at_once)]
    clients = [client for _, client in opened]

    async def worker(client: _Client, numbers: Iterator[int], into: list[float]) -> None:
        for _ in numbers:
            into.append(await client.ask())

    async def all_of(count: int) -> list[float]:
        numbers, each = iter(range(count)), list[float]()
        await asyncio.gather(*(worker(client, numbers, each) for client in clients))
        return each

    await all_of(load.warm)
    begun = time.perf_counter()
    each = await all_of(load.requests)
    return {"wall": time.perf_counter() - begun, "each": each}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(drive(Load(**json.loads(sys.argv[1]))))))
