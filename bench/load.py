"""A load generator in a process of its own: keeps a number of requests under way and reports each one's time.

python bench/load.py '{"port": 8000, "path": "/v1/agents/x/run", "at_once": 64, "requests": 2000, "expect": "two"}'
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import uvloop
from figures import Latencies
from http_client import Connection, connect, written
from processes import cores, reported


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
    result = reported(__file__, json.dumps(asdict(load)), cores()[1])
    return Latencies(result["wall"], result["each"])


async def _ask(load: Load, connection: Connection) -> float:
    body = {**load.body, load.session: secrets.token_hex(8)} if load.session else load.body
    headers = ["accept: text/event-stream"] if load.first else []
    request = written(load.port, load.path, json.dumps(body).encode(), *headers)
    answer = await connection.ask(request, load.first.encode())
    if load.expect.encode() not in answer.body:
        raise RuntimeError(f"an answer that was not expected: {answer.body[:500]!r}")
    return answer.first - answer.begun


async def drive(load: Load) -> dict[str, object]:
    """The load from one loop: a connection for each request under way."""
    connections = [await connect(load.port) for _ in range(load.at_once)]

    async def worker(connection: Connection, numbers: Iterator[int], into: list[float]) -> None:
        for _ in numbers:
            into.append(await _ask(load, connection))

    async def all_of(count: int) -> list[float]:
        numbers, each = iter(range(count)), list[float]()
        await asyncio.gather(*(worker(connection, numbers, each) for connection in connections))
        return each

    await all_of(load.warm)
    begun = time.perf_counter()
    each = await all_of(load.requests)
    return {"wall": time.perf_counter() - begun, "each": each}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(drive(Load(**json.loads(sys.argv[1]))))))
