"""The webhook of docs/tools.md, word for word, in a mesh: a run calls it, and what its server answers is in the log."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest
import yaml

from astromesh_testing.models.loopback import Exchange, HttpRequest, LoopbackServer
from astromesh_testing.waiting import until

from .asking import ask, events_of, proven
from .conftest import Talking
from .made_agents import judged

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = Path(__file__).parent.parent / "docs" / "tools.md"


def documented(**environ: str) -> dict[str, object]:
    found = re.search(
        r"```yaml\n# config/agents/clerk.agent.yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert found, f"{PAGE.name} shows no clerk"
    text = found[1]
    for name, value in environ.items():
        text = text.replace(f"${{{name}}}", value)
    declared: dict[str, object] = yaml.safe_load(text)
    return declared


async def test_a_run_calls_the_documented_endpoint(talking: Talking) -> None:
    asked: list[HttpRequest] = []

    async def office(exchange: Exchange) -> None:
        asked.append(exchange.request)
        await exchange.send(200, orjson.dumps({"note": {"number": 42, "by": "office"}}), "application/json")

    async with LoopbackServer(office) as server:
        agent = documented(CLERK_MODEL=talking.model.endpoint, CLERK_OFFICE=server.url)
        # A mesh reads secrets from its own environment; PATH is one that every process has.
        agent = yaml.safe_load(yaml.safe_dump(agent).replace("${CLERK_TOKEN}", "${PATH}"))
        created = await talking.mesh.client.post("/v1/agents", json=agent)
        assert created.status_code == 201, created.text
        await until(lambda: judged(talking, "clerk"))
        reply = (await ask(talking.mesh, "note call Ms Ada back", agent="clerk")).json()
        tried = await talking.mesh.client.post(
            "/v1/tools/execute",
            json={"agent": "clerk", "tool_name": "note", "arguments": {"text": "x", "urgent": True}},
        )
    assert reply["answer"] == "It is 42."
    first, second = asked
    assert (first.method, first.path) == ("PUT", "/desks/back/notes")
    assert orjson.loads(first.body) == {"note": {"text": "call Ms Ada back", "by": "astromesh"}}
    assert first.headers["idempotency-key"].startswith(reply["run_id"])
    assert second.path == "/desks/back/notes?urgent=true"
    assert tried.status_code == 200, tried.text
    secret = first.headers["authorization"].removeprefix("Bearer ")
    assert secret not in str(await events_of(talking.mesh, reply["run_id"]))
    await proven(talking.mesh, reply["run_id"])
    await talking.mesh.client.delete("/v1/agents/clerk")
