"""Models that hang, break off, answer rubbish or are gone, and clients that leave them, through the whole mesh."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from astromesh_testing.mesh import free_ports
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Call, Drop, Ending, Hang, Refusal, Reply, Rubbish, Scripted
from astromesh_testing.sse import Message, messages

from .asking import STREAM, ask, proven, run_of, settled, start, streamed, text_of, until_status
from .conftest import Talking
from .made_agents import made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")

WHOLE = "the quick brown fox jumps over it"

FAULTS: dict[str, Scripted] = {
    "breaks off": Reply(WHOLE, ending=Ending.BREAK_OFF, after=3, pause=0.02),
    "stops short": Reply(WHOLE, ending=Ending.STOP_SHORT, after=3, pause=0.02),
    "hangs in the middle": Reply(WHOLE, ending=Ending.HANG, after=3, pause=0.02),
    "an error in the middle": Reply(WHOLE, ending=Ending.ERROR, after=3, pause=0.02),
    "rubbish in the middle": Reply(WHOLE, ending=Ending.RUBBISH, after=3, pause=0.02),
    "hangs": Hang(),
    "drops": Drop(),
    "rubbish": Rubbish(),
    "500": Refusal(500),
    "503": Refusal(503, retry_after="1"),
    "429": Refusal(429, retry_after="1"),
}
SECONDS = 1.0
"""After so long a model that says nothing is given up."""

AT_ONCE = 1.0
"""Seconds within which a model hears that nobody wants its reply any more: until then it is paid."""


@pytest.mark.parametrize("fault", FAULTS)
async def test_another_model_answers_and_no_text_is_told_twice(talking: Talking, fault: str) -> None:
    async with (
        OpenAIChatServer(otherwise=FAULTS[fault]) as broken,
        OpenAIChatServer(otherwise=Reply(WHOLE)) as sound,
        made_agent(talking, [broken.endpoint, sound.endpoint], seconds=SECONDS) as agent,
    ):
        told = await streamed(talking.mesh, "x", agent=agent)
        assert (told[-1].name, told[-1].data["answer"]) == ("done", WHOLE)
        assert text_of(told) == WHOLE
        seen = "".join(message.data["text"] for message in told if message.name == "token")
        restarts = [message for message in told if message.name == "restart"]
        assert bool(restarts) == (seen != WHOLE), "a text that changed was taken back first"
        await proven(talking.mesh, told[-1].data["run_id"])


async def test_a_model_that_is_gone_is_passed_over(talking: Talking) -> None:
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}/v1"
    async with made_agent(talking, [nowhere, talking.model.endpoint]) as agent:
        assert (await ask(talking.mesh, "say hello", agent=agent)).json()["answer"] == "hello"


@pytest.mark.parametrize("fault", ["breaks off", "hangs", "rubbish", "500", "429"])
async def test_without_another_model_the_run_fails_cleanly_and_its_session_goes_on(
    talking: Talking, fault: str
) -> None:
    async with (
        OpenAIChatServer(FAULTS[fault], otherwise=Reply("well again")) as model,
        made_agent(talking, [model.endpoint], seconds=SECONDS) as agent,
    ):
        model.script.extend([FAULTS[fault]] * 5)
        failed = await ask(talking.mesh, "x", agent=agent, session_id="goes-on")
        assert 400 <= failed.status_code < 600
        problem = failed.json()
        assert {"type", "title", "status", "detail", "run_id"} <= problem.keys()
        assert "Traceback" not in failed.text
        assert await proven(talking.mesh, problem["run_id"])
        assert (await run_of(talking.mesh, problem["run_id"]))["status"] == "failed"
        model.script.clear()
        await asyncio.sleep(float(failed.headers.get("retry-after", 0)))
        assert (await ask(talking.mesh, "x", agent=agent, session_id="goes-on")).json()["answer"] == "well again"


async def leave_after_tokens(talking: Talking, agent: str, **body: object) -> str:
    """Reads a stream until it has some text, then closes the connection; the run's id."""
    path = f"/v1/agents/{agent}/run"
    async with (
        httpx.AsyncClient(base_url=talking.mesh.url, timeout=30) as client,
        client.stream("POST", path, json={"query": "x", **body}, headers=STREAM) as response,
    ):
        told: list[Message] = []
        async for message in messages(response):
            told.append(message)
            if len([message for message in told if message.name == "token"]) == 3:
                break
    return told[0].data["run_id"]


LONG = Reply(" ".join(str(number) for number in range(200)), pause=0.05)


async def test_a_client_that_leaves_and_asked_for_it_stops_the_model(talking: Talking) -> None:
    async with OpenAIChatServer(otherwise=LONG) as model, made_agent(talking, [model.endpoint]) as agent:
        run_id = await leave_after_tokens(talking, agent, cancel_on_disconnect=True)
        async with asyncio.timeout(AT_ONCE):
            await model.departed()
        run = await until_status(talking.mesh, run_id, "cancelled")
        assert LONG.text.startswith(run["answer"])
        assert run["answer"].startswith("0 1 2"), "what the user saw is kept"
        await proven(talking.mesh, run_id)


async def test_a_client_that_leaves_lets_the_run_go_on_by_default(talking: Talking) -> None:
    short = Reply(" ".join(str(number) for number in range(20)), pause=0.05)
    async with OpenAIChatServer(otherwise=short) as model, made_agent(talking, [model.endpoint]) as agent:
        run_id = await leave_after_tokens(talking, agent)
        assert (await settled(talking.mesh, run_id))["answer"] == short.text
        assert model.departures == 0


async def test_a_cancel_reaches_the_model(talking: Talking) -> None:
    async with OpenAIChatServer(otherwise=Hang()) as model, made_agent(talking, [model.endpoint], seconds=60) as agent:
        run_id = await start(talking.mesh, "x", agent=agent)
        await model.asked()
        cancelled = await talking.mesh.client.post(f"/v1/runs/{run_id}/cancel")
        assert cancelled.json()["status"] == "cancelled"
        async with asyncio.timeout(AT_ONCE):
            await model.departed()


async def test_a_cancel_in_mid_stream_reaches_the_model_and_keeps_what_was_read(talking: Talking) -> None:
    async with OpenAIChatServer(otherwise=LONG) as model, made_agent(talking, [model.endpoint]) as agent:
        path = f"/v1/agents/{agent}/run"
        async with talking.mesh.client.stream("POST", path, json={"query": "x"}, headers=STREAM) as response:
            told: list[Message] = []
            async for message in messages(response):
                told.append(message)
                if message.name == "token" and text_of(told) == "0 1 2":
                    await talking.mesh.client.post(f"/v1/runs/{message.data['run_id']}/cancel")
                    async with asyncio.timeout(AT_ONCE):
                        await model.departed()
        assert told[-1].name == "error"
        run = await until_status(talking.mesh, told[0].data["run_id"], "cancelled")
        assert run["answer"] == text_of(told)


async def test_a_runs_deadline_ends_it_and_its_model_call(talking: Talking) -> None:
    async with (
        OpenAIChatServer(otherwise=Hang()) as model,
        made_agent(talking, [model.endpoint], seconds=60, orchestration={"timeout_seconds": 1}) as agent,
    ):
        reply = await ask(talking.mesh, "x", agent=agent)
        assert (reply.status_code, reply.json()["status"]) == (504, 504)
        async with asyncio.timeout(AT_ONCE):
            await model.departed()
        kinds = await proven(talking.mesh, reply.json()["run_id"])
        assert kinds[-2:] == ["timed_out", "failed"]


async def test_calls_that_no_tool_can_take_are_answered_to_the_model_with_the_reason(talking: Talking) -> None:
    wrong = Reply(calls=(Call("no_such_tool", "{}", "c1"), Call("add", "{a: one", "c2")))
    async with (
        OpenAIChatServer(wrong, otherwise=Reply("I was wrong.")) as model,
        made_agent(talking, [model.endpoint]) as agent,
    ):
        reply = await ask(talking.mesh, "x", agent=agent)
        assert reply.json()["answer"] == "I was wrong."
        unknown, broken = (str(message["content"]) for message in model.requests[-1].messages[-2:])
        assert "there is no tool 'no_such_tool'; the tools of this agent are: " in unknown
        assert "the arguments are not JSON" in broken
        await proven(talking.mesh, reply.json()["run_id"])


async def test_a_model_that_calls_tools_for_ever_is_stopped(talking: Talking) -> None:
    async with made_agent(talking, [talking.model.endpoint], orchestration={"max_iterations": 1}) as agent:
        reply = await ask(talking.mesh, "add 1 2", agent=agent)
        assert reply.status_code >= 400
        assert (await run_of(talking.mesh, reply.json()["run_id"]))["status"] == "failed"
        await proven(talking.mesh, reply.json()["run_id"])
