"""The agent of docs/mcp.md, word for word, in a mesh: its runs call tools of MCP servers, which are killed, hang, and
come back."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from astromesh_testing.mcp_server import harbour
from astromesh_testing.mcp_serving import LegacyServer, described, legacy, serving
from astromesh_testing.mesh import free_ports
from astromesh_testing.models.loopback import Exchange, LoopbackServer
from astromesh_testing.waiting import until

from .asking import Json, ask, events_of, proven, settled, start, streamed, until_status
from .conftest import Talking
from .made_agents import judged, made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = Path(__file__).parent.parent / "docs" / "mcp.md"


def lines(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


def at(url: str, **fields: object) -> dict[str, object]:
    """A server at an address, as an entry of an agent."""
    return {"name": "harbour", "type": "mcp_http", "url": url, "allow_private": True, **fields}


def program(journal: Path, **fields: object) -> dict[str, object]:
    """The harbour as a program that the mesh starts."""
    arguments = ["-m", "astromesh_testing.mcp_server", str(journal)]
    return {"name": "harbour", "type": "mcp", "command": sys.executable, "args": arguments, **fields}


@asynccontextmanager
async def sailor(talking: Talking, *tools: dict[str, object]) -> AsyncGenerator[str]:
    async with made_agent(talking, [talking.model.endpoint], tools=list(tools)) as name:
        yield name


async def condition(talking: Talking, agent: str) -> Json:
    """What the operator tells of the servers of an agent."""
    found = (await talking.mesh.client.get(f"/v1/agents/{agent}")).json()
    conditions: list[Json] = [each for each in found["conditions"] if each["type"] == "ToolsConnected"]
    return conditions[0] if conditions else {}


async def test_the_documented_agent_calls_its_server(talking: Talking, tmp_path: Path) -> None:
    found = re.search(
        r"```yaml\n# config/agents/skipper.agent.yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert found, f"{PAGE.name} shows no skipper"
    async with serving(harbour(tmp_path / "journal")) as url:
        text = found[1].replace("${SKIPPER_MODEL}", talking.model.endpoint).replace("${HARBOUR_URL}", url)
        # A mesh reads secrets from its own environment; PATH is one that every process has.
        agent = yaml.safe_load(text.replace("${HARBOUR_TOKEN}", "${PATH}").replace("command: npx", "command: no-npx"))
        created = await talking.mesh.client.post("/v1/agents", json=agent)
        assert created.status_code == 201, created.text
        await until(lambda: judged(talking, "skipper"), 30)
        listed = (await talking.mesh.client.get("/v1/tools", params={"agent": "skipper"})).json()["tools"]
        assert {tool["name"]: tool["effect"] for tool in listed}["harbour_book"] == "write"
        assert {tool["name"]: tool["effect"] for tool in listed}["harbour_boats"] == "read"
        reply = (await ask(talking.mesh, 'use harbour_book {"boat": "Ada"}', agent="skipper")).json()
        assert reply["answer"] == "It is Ada is yours."
        tried = await talking.mesh.client.post(
            "/v1/tools/execute",
            json={"agent": "skipper", "tool_name": "harbour_boats", "arguments": {"port": "Elba"}},
        )
        assert tried.json()["result"] == "the Ada lies in Elba"
        events = await events_of(talking.mesh, reply["run_id"])
        await proven(talking.mesh, reply["run_id"])
        await talking.mesh.client.delete("/v1/agents/skipper")
    (started,) = [event for event in events if event["type"] == "started"]
    assert "harbour_book" in str(started)


async def test_a_server_that_is_killed_in_the_middle_of_a_write_leaves_it_unknown(
    talking: Talking, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    async with sailor(talking, program(journal)) as agent:
        run_id = await start(talking.mesh, "use explode {}", agent=agent)
        run = await settled(talking.mesh, run_id)
        assert run["status"] == "needs-human"
        assert lines(journal).count("explode") == 1
        # A read, over the server that was started again.
        reply = (await ask(talking.mesh, 'use boats {"port": "Elba"}', agent=agent)).json()
        assert reply["answer"] == "It is the Ada lies in Elba."
        resolved = await talking.mesh.client.post(
            f"/v1/runs/{run_id}/resolve", json={"path": "2.1", "outcome": "succeeded", "result": "sunk"}
        )
        assert resolved.status_code in (200, 202), resolved.text
        assert (await settled(talking.mesh, run_id))["status"] == "completed"
        await proven(talking.mesh, run_id)
    assert lines(journal).count("explode") == 1
    assert lines(journal).count("started") == 2


async def test_a_server_that_breaks_in_the_middle_of_a_read_is_told_to_the_model(
    talking: Talking, tmp_path: Path
) -> None:
    async with sailor(talking, program(tmp_path / "journal", effects={"explode": "read"})) as agent:
        reply = (await ask(talking.mesh, "use explode {}", agent=agent)).json()
        assert "unavailable" in reply["answer"]


async def test_a_cancelled_run_cancels_its_call(talking: Talking, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with serving(harbour(journal)) as url, sailor(talking, at(url)) as agent:
        run_id = await start(talking.mesh, 'use sail {"boat": "Ada", "seconds": 30}', agent=agent)
        await until(lambda: _wrote(journal, "sail Ada"))
        await talking.mesh.client.post(f"/v1/runs/{run_id}/cancel", json={})
        await until(lambda: _wrote(journal, "called back Ada"))
        await until_status(talking.mesh, run_id, "cancelled")


async def test_those_who_follow_a_run_see_how_far_its_tool_has_come(talking: Talking, tmp_path: Path) -> None:
    async with serving(harbour(tmp_path / "journal")) as url, sailor(talking, at(url)) as agent:
        told = await streamed(talking.mesh, 'use sail {"boat": "Ada", "seconds": 0.3}', agent=agent)
    come = [message for message in told if message.name == "tool_progress"]
    assert [(message.data["progress"], message.data["total"]) for message in come] == [(1.0, 3.0)]
    (called,) = [message for message in told if message.name == "tool_call"]
    assert come[0].data["path"] == called.data["path"]
    assert told.index(called) < told.index(come[0])


async def test_a_restarted_server_costs_one_new_session_and_no_run(talking: Talking) -> None:
    server = LegacyServer([described("buy")], _sold)
    async with legacy(server) as url, sailor(talking, at(url)) as agent:
        for _ in range(2):
            assert (await ask(talking.mesh, "use buy {}", agent=agent)).json()["answer"] == "It is sold."
        server.forget()
        assert (await ask(talking.mesh, "use buy {}", agent=agent)).json()["answer"] == "It is sold."
        assert server.initialized == 2
        assert len(server.calls) == 3


async def test_a_broken_server_fails_runs_that_require_it_delays_nobody_else_and_is_found_again(
    talking: Talking,
) -> None:
    async def hang(exchange: Exchange) -> None:
        await exchange.hang()

    port = free_ports(1)[0]
    async with LoopbackServer(hang) as server:
        stuck = at(f"{server.url}/mcp", connect_timeout_seconds=1)
        away = at(f"http://127.0.0.1:{port}/mcp", connect_timeout_seconds=1)
        async with sailor(talking, stuck) as needs, sailor(talking, {**away, "required": False}) as does_without:
            assert (await ask(talking.mesh, "say hello")).json()["answer"] == "hello"
            failed = await settled(talking.mesh, await start(talking.mesh, "say hello", agent=needs))
            assert failed["status"] == "failed"
            assert "harbour" in str(failed)
            reply = (await ask(talking.mesh, "say hello", agent=does_without)).json()
            assert reply["answer"] == "hello"

            async def told() -> Json:
                found = await condition(talking, needs)
                return found if found.get("status") == "False" else {}

            broken = await until(told, 30, 0.2)
            assert broken["reason"] == "TimedOut"
            assert broken["message"].startswith("harbour (127.0.0.1:")
    needs_it = at(f"http://127.0.0.1:{port}/mcp", connect_timeout_seconds=0.5)
    async with sailor(talking, needs_it) as agent:

        async def status() -> str:
            return str((await condition(talking, agent)).get("status"))

        await until(lambda: _is(status, "False"), 30, 0.1)
        async with legacy(LegacyServer([described("buy")], _sold), port):
            await until(lambda: _is(status, "True"), 30, 0.1)
            assert (await ask(talking.mesh, "use buy {}", agent=agent)).json()["answer"] == "It is sold."


async def test_a_new_run_sees_what_a_server_offers_by_now(talking: Talking, tmp_path: Path) -> None:
    async with serving(harbour(tmp_path / "journal")) as url, sailor(talking, at(url)) as agent:
        before = (await ask(talking.mesh, "use launch {}", agent=agent)).json()
        assert "there is no tool 'launch'" in before["answer"]
        assert (await ask(talking.mesh, "use build {}", agent=agent)).json()["answer"] == "It is built."

        async def launched() -> bool:
            return (await ask(talking.mesh, "use launch {}", agent=agent)).json()["answer"] == "It is launched."

        await until(launched, 10, 0.1)
        await proven(talking.mesh, before["run_id"])


async def _wrote(journal: Path, line: str) -> bool:
    return line in lines(journal)


async def _is(status: Callable[[], Awaitable[str]], wanted: str) -> bool:
    return await status() == wanted


async def _sold(server: LegacyServer, exchange: Exchange, message: Json) -> None:
    await server.say(exchange, message, "sold")
