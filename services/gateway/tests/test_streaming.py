"""Server-sent events: what is told, in which order, and that a reader which comes back misses nothing."""

from __future__ import annotations

import random

import httpx
import pytest

from astromesh_testing.scripted_runtime import ScriptedRun
from astromesh_testing.sse import Message, messages

from .conftest import Mesh

RUN = "/v1/agents/agent/run"
STREAM = {"Accept": "text/event-stream"}


async def run_stream(mesh: Mesh) -> list[Message]:
    async with mesh.client.stream("POST", RUN, json={"query": "x"}, headers=STREAM) as response:
        assert response.status_code == 200
        return [message async for message in messages(response)]


def text(told: list[Message]) -> str:
    return "".join(message.data["text"] for message in told if message.name == "token")


async def test_tells_tokens_tool_calls_and_steps_and_ends_with_what_the_plain_call_returns(mesh: Mesh) -> None:
    told = await run_stream(mesh)
    assert [message.name for message in told if message.name not in ("step", "token")] == [
        "tool_call",
        "tool_result",
        "done",
    ]
    assert text(told) == "it is 2"
    assert told[-1].data["answer"] == "it is 2"
    assert {message.data["run_id"] for message in told} == {told[-1].data["run_id"]}
    assert [int(message.id) for message in told if message.id] == list(range(9))
    call = next(message for message in told if message.name == "tool_call")
    assert (call.data["name"], call.data["arguments"]) == ("add", {"a": 1})


async def test_a_new_attempt_is_a_restart(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.begin("1")
        run.tell("1", "wrong", 0)
        await run.begin("1", "it broke off")
        run.tell("1", "right", 0)
        await run.reply("1", "right answer")
        await run.complete("right answer")

    mesh.runtime.script = script
    told = [message for message in await run_stream(mesh) if message.name in ("token", "restart")]
    after = next(place for place, message in enumerate(told) if message.name == "restart")
    assert told[after].data["reason"] == "it broke off"
    assert text(told[:after]) == "wrong"
    assert text(told[after:]) == "right answer"


async def test_lost_pieces_are_filled_before_the_end(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.begin("1")
        run.tell("1", "one ", 0)
        run.tell("1", "three ", 8)
        await run.reply("1", "one two three four")
        await run.complete("one two three four")

    mesh.runtime.script = script
    assert text(await run_stream(mesh)) == "one two three four"


async def test_nothing_unchecked_is_told_of_an_agent_with_output_rules(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start(checks_output=True)
        await run.begin("1")
        await run.reply("1", "the secret")
        await run.complete("the [GONE]")

    mesh.runtime.script = script
    told = await run_stream(mesh)
    assert text(told) == "the [GONE]"
    assert "secret" not in str(told)
    assert "secret" not in (await mesh.client.post(RUN, json={"query": "x"})).text


async def test_a_run_that_fails_ends_its_stream_with_the_problem(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.fail("unavailable", "no model answers")

    mesh.runtime.script = script
    last = (await run_stream(mesh))[-1]
    assert (last.name, last.data["status"], last.data["detail"]) == ("error", 503, "no model answers")


async def test_a_run_that_waits_ends_its_stream_with_done(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.call("1.1", "pay")
        await run.lost("1.1")

    mesh.runtime.script = script
    last = (await run_stream(mesh))[-1]
    assert (last.name, last.data["status"]) == ("done", "needs-human")


async def test_what_refuses_the_run_is_no_stream(mesh: Mesh) -> None:
    response = await mesh.client.post("/v1/agents/nobody/run", json={"query": "x"}, headers=STREAM)
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


async def watch(mesh: Mesh, run_id: str, after: str, upto: int) -> tuple[int, list[Message]]:
    """Reads at most so many messages, then breaks off."""
    headers = {**STREAM, "Last-Event-ID": after} if after else STREAM
    told: list[Message] = []
    async with mesh.client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as response:
        async for message in messages(response):
            told.append(message)
            if len(told) == upto:
                break
        return response.status_code, told


@pytest.mark.parametrize("seed", range(3))
async def test_a_reader_that_comes_back_misses_nothing_and_gets_nothing_twice(mesh: Mesh, seed: int) -> None:
    chance = random.Random(seed)

    async def script(run: ScriptedRun) -> None:
        await run.start()
        for number in range(1, 13):
            await run.begin(str(number))
            run.tell(str(number), "some ", 0)
            await run.reply(str(number), "some text")
        await run.complete("some text")

    mesh.runtime.script = script
    run_id = (await mesh.client.post("/v1/agents/agent/runs", json={"query": "x"})).json()["run_id"]
    seen: list[int] = []
    after = ""
    while True:
        status, told = await watch(mesh, run_id, after, chance.randint(1, 9))
        if status == 204:
            break
        seen += [int(message.id) for message in told if message.id]
        after = next((message.id for message in reversed(told) if message.id), after)
    assert seen == list(range(27))


async def test_a_reader_that_comes_back_amid_text_is_told_to_forget_it(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.begin("1")
        run.tell("1", "half of", 0)
        await run.signals.get()
        await run.reply("1", "half of it")
        await run.complete("half of it")

    mesh.runtime.script = script
    run_id = (await mesh.client.post("/v1/agents/agent/runs", json={"query": "x"})).json()["run_id"]
    _, told = await watch(mesh, run_id, "", 3)
    await mesh.client.post(f"/v1/runs/{run_id}/cancel")
    _, rest = await watch(mesh, run_id, told[-1].id or "2", 99)
    assert [message.name for message in rest][:2] == ["restart", "token"]
    assert text(rest) == "half of it"


@pytest.mark.parametrize("rubbish", ["abc", "-1", "1.5", "9" * 30, "9999", "٣"])
async def test_a_place_that_the_stream_never_gave_out_is_refused(mesh: Mesh, rubbish: str) -> None:
    run_id = (await mesh.client.post(RUN, json={"query": "x"})).json()["run_id"]
    headers = httpx.Headers({**STREAM, "Last-Event-ID": rubbish}, encoding="utf-8")
    response = await mesh.client.get(f"/v1/runs/{run_id}/events", headers=headers)
    assert response.status_code == 400, response.text


async def test_a_stopping_gateway_ends_what_can_be_resumed_elsewhere(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.signals.get()

    mesh.runtime.script = script
    run_id = (await mesh.client.post("/v1/agents/agent/runs", json={"query": "x"})).json()["run_id"]
    async with mesh.client.stream("GET", f"/v1/runs/{run_id}/events", headers=STREAM) as response:
        told = messages(response)
        assert (await anext(told)).id == "0"
        mesh.gateway.draining.set()
        assert [message.id async for message in told] in ([], ["1"])
