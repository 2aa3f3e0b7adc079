"""Asking a mesh over HTTP, and what a settled run has to be in any test: proven and replayed."""

from __future__ import annotations

from typing import Any

import httpx

from astromesh_testing.mesh import Mesh
from astromesh_testing.sse import Message, messages
from astromesh_testing.waiting import until

STREAM = {"Accept": "text/event-stream"}
ENDS = frozenset({"completed", "failed", "compensated", "cancelled"})
WAITS = frozenset({"suspended", "needs-human", "needs-version"})

Json = dict[str, Any]


async def ask(
    mesh: Mesh, query: str, *, agent: str = "talker", key: str = "", namespace: str = "", **body: object
) -> httpx.Response:
    """POST /run, waited for."""
    headers = {"Idempotency-Key": key} if key else {}
    if namespace:
        headers["X-Astromesh-Namespace"] = namespace
    return await mesh.client.post(f"/v1/agents/{agent}/run", json={"query": query, **body}, headers=headers)


async def start(mesh: Mesh, query: str, *, agent: str = "talker", key: str = "", **body: object) -> str:
    """POST /runs; the run id."""
    headers = {"Idempotency-Key": key} if key else {}
    response = await mesh.client.post(f"/v1/agents/{agent}/runs", json={"query": query, **body}, headers=headers)
    assert response.status_code == 202, response.text
    return str(response.json()["run_id"])


async def streamed(mesh: Mesh, query: str, *, agent: str = "talker", **body: object) -> list[Message]:
    """POST /run as a stream, read to its end."""
    path = f"/v1/agents/{agent}/run"
    async with mesh.client.stream("POST", path, json={"query": query, **body}, headers=STREAM) as response:
        assert response.status_code == 200, await response.aread()
        return [message async for message in messages(response)]


async def run_of(mesh: Mesh, run_id: str) -> Json:
    """GET /v1/runs/{id}."""
    response = await mesh.client.get(f"/v1/runs/{run_id}")
    assert response.status_code == 200, response.text
    return response.json()


async def settled(mesh: Mesh, run_id: str, seconds: float = 40.0) -> Json:
    """The run once it has ended or waits for a human. Raises TimeoutError."""

    async def ended() -> Json:
        try:
            response = await mesh.client.get(f"/v1/runs/{run_id}")
        except httpx.TransportError:
            return {}  # the gateway is being started again
        assert response.status_code in (200, 503), response.text  # 503 while the broker is started again
        found: Json = response.json()
        return found if response.status_code == 200 and found["status"] in ENDS | WAITS else {}

    return await until(ended, seconds, 0.05)


async def until_status(mesh: Mesh, run_id: str, status: str, seconds: float = 20.0) -> Json:
    """The run once it has this status."""

    async def reached() -> Json | None:
        run = await run_of(mesh, run_id)
        return run if run["status"] == status else None

    return await until(reached, seconds) or {}


async def events_of(mesh: Mesh, run_id: str) -> list[Json]:
    """Every event of a run, page by page."""
    found: list[Json] = []
    token = ""
    while True:
        query = {"page_size": 1000, "page_token": token}
        page = (await mesh.client.get(f"/v1/runs/{run_id}/events", params=query)).json()
        found += page["events"]
        token = page["next_page_token"]
        if not token:
            return found


async def posted(mesh: Mesh, path: str) -> Json:
    """What a POST without a body answers, asked again while a service is being started again (503)."""

    async def answered() -> Json:
        response = await mesh.client.post(path)
        assert response.status_code in (200, 503), response.text
        return response.json() if response.status_code == 200 else {}

    return await until(answered, 30, 0.2)


async def proven(mesh: Mesh, run_id: str) -> list[str]:
    """The kinds of a run's events, once its indexes are whole, its chain holds and its replay is identical."""
    events = await events_of(mesh, run_id)
    assert [event["index"] for event in events] == list(range(len(events)))
    verdict = await posted(mesh, f"/v1/runs/{run_id}/verify")
    assert (verdict["ok"], verdict["events"]) == (True, len(events)), verdict
    replayed = await posted(mesh, f"/v1/runs/{run_id}/replay")
    assert replayed["identical"], replayed
    return [event["type"] for event in events]


def text_of(told: list[Message]) -> str:
    """What a reader of the stream has on the screen: a restart forgets the text of its step."""
    shown: dict[str, str] = {}
    for message in told:
        if message.name == "restart":
            shown[message.data["path"]] = ""
        elif message.name == "token":
            shown[message.data["path"]] = shown.get(message.data["path"], "") + message.data["text"]
    return "\n\n".join(text for text in shown.values() if text)
