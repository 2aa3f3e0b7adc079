"""The WebSocket: runs one after another, cancels, callers that leave, rubbish."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from astromesh_testing.scripted_runtime import ScriptedRun

from .conftest import Mesh


@asynccontextmanager
async def socket(mesh: Mesh, query: str = "") -> AsyncGenerator[ClientConnection]:
    async with connect(f"ws://{mesh.url}/v1/ws/agent/agent{query}") as connection:
        yield connection


async def say(connection: ClientConnection, **frame: object) -> None:
    await connection.send(orjson.dumps(frame).decode())


async def until(connection: ClientConnection, *last: str) -> list[Any]:
    frames: list[Any] = []
    while not frames or frames[-1]["type"] not in last:
        frames.append(orjson.loads(await connection.recv()))
    return frames


async def test_runs_follow_one_another_in_one_session(mesh: Mesh) -> None:
    async with socket(mesh) as connection:
        await say(connection, query="one")
        await say(connection, query="two")
        first = await until(connection, "done")
        second = await until(connection, "done")
    assert [frame["type"] for frame in first if frame["type"] != "token"] == ["tool_call", "tool_result", "done"]
    assert "".join(frame["text"] for frame in first if frame["type"] == "token") == "it is 2"
    assert first[-1]["run_id"] != second[-1]["run_id"]
    assert first[-1]["session_id"] == second[-1]["session_id"]


async def test_a_run_may_be_cancelled_from_the_socket(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.begin("1")
        run.tell("1", "half", 0)
        await run.cancelled_by(await run.signals.get())

    mesh.runtime.script = script
    async with socket(mesh) as connection:
        await say(connection, query="x")
        await until(connection, "token")
        await say(connection, type="cancel")
        last = (await until(connection, "error"))[-1]
        assert (last["status"], last["title"]) == (499, "Cancelled")
        assert last["run_id"]


@pytest.mark.parametrize("how", ["in the question", "in the address"])
async def test_a_client_that_vanishes_cancels_where_it_asked_for_it(mesh: Mesh, how: str) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.begin("1")
        run.tell("1", "half", 0)
        await run.cancelled_by(await run.signals.get())

    mesh.runtime.script = script
    asks = how == "in the question"
    async with socket(mesh, "" if asks else "?cancel_on_disconnect=true") as connection:
        await say(connection, query="x", cancel_on_disconnect=asks)
        await until(connection, "token")
        connection.transport.abort()
    run = await mesh.runtime.next_run()
    events = [event async for event in mesh.bus.log.follow(run.aggregate)]
    assert events[-1].envelope.run.cancelled.partial_answer.text == "half"


@pytest.mark.parametrize("rubbish", ["", "{", '{"query": 1}', '{"quary": "x"}', '{"query": ""}', b"\xff\xfe"])
async def test_rubbish_is_answered_and_the_socket_goes_on(mesh: Mesh, rubbish: str | bytes) -> None:
    async with socket(mesh) as connection:
        await connection.send(rubbish)
        assert (await until(connection, "error"))[-1]["status"] in (400, 422)
        await say(connection, query="x")
        assert (await until(connection, "done"))[-1]["answer"] == "it is 2"


async def test_an_unknown_agent_is_an_error_frame(mesh: Mesh) -> None:
    async with connect(f"ws://{mesh.url}/v1/ws/agent/nobody") as connection:
        await say(connection, query="x")
        assert (await until(connection, "error"))[-1]["status"] == 404


async def test_a_plain_request_is_told_to_upgrade(mesh: Mesh) -> None:
    plain = await mesh.client.get("/v1/ws/agent/agent")
    assert plain.status_code == 426
    assert (plain.headers["upgrade"], plain.headers["content-type"]) == ("websocket", "application/problem+json")
    assert (plain.json()["title"], plain.json()["status"]) == ("Upgrade Required", 426)
    assert "WebSocket" in plain.json()["detail"]


async def test_a_frame_beyond_the_limit_closes_the_socket(mesh: Mesh) -> None:
    async with socket(mesh) as connection:
        await say(connection, query="x" * (16 << 20))
        with pytest.raises(ConnectionClosed):
            await connection.recv()
