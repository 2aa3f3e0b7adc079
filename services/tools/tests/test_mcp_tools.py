"""Tools of MCP servers, against servers of the official SDK over each of the transports."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest

from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_IDEMPOTENT, TOOL_EFFECT_KIND_READ, TOOL_EFFECT_KIND_WRITE
from astromesh_core.errors import InvalidInput, TimedOut
from astromesh_core.events.contents import plain
from astromesh_testing.contracts.placement import in_process
from astromesh_testing.mcp_server import harbour
from astromesh_testing.mcp_serving import serving
from astromesh_testing.waiting import until

from .mcp_agents import address, connected, described, lines, offered, program, run_calls, source
from .serving import Mesh, failed, running

WAYS = ("stdio", "http", "sse")


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncGenerator[Mesh]:
    async with running(tmp_path / "tools", in_process) as mesh:
        yield mesh


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture(params=WAYS)
async def entry(request: pytest.FixtureRequest, journal: Path) -> AsyncIterator[dict[str, object]]:
    """The harbour, as an entry of an agent's file."""
    async with AsyncExitStack() as stack:
        if request.param == "stdio":
            yield program(journal)
        else:
            url = await stack.enter_async_context(serving(harbour(journal), request.param))
            yield address(url)


async def test_a_server_offers_its_tools_with_schema_effect_and_origin(mesh: Mesh, entry: dict[str, object]) -> None:
    agent = mesh.agents.add({**entry, "timeout_seconds": 7})
    tools = await offered(mesh, agent)
    boats = tools["boats"]
    assert boats.description == "The boats of a port."
    assert orjson.loads(boats.parameters_json)["required"] == ["port"]
    assert (boats.type, boats.timeout_ms) == ("mcp", 7000)
    assert (boats.origin.entry, boats.origin.name, boats.origin.version) == ("harbour", "boats", "1.2")
    assert len(boats.origin.sha256) == 32
    effects = {name: tools[name].effect for name in ("boats", "moor", "book")}
    assert effects == {
        "boats": TOOL_EFFECT_KIND_READ,
        "moor": TOOL_EFFECT_KIND_IDEMPOTENT,
        "book": TOOL_EFFECT_KIND_WRITE,
    }


async def test_a_run_calls_a_tool_and_reads_its_answer(mesh: Mesh, entry: dict[str, object], journal: Path) -> None:
    agent = mesh.agents.add(entry)
    tools = await offered(mesh, agent)
    response = await run_calls(mesh, agent, tools["boats"], '{"port": "Elba"}')
    assert plain(response.result.output) == "the Ada lies in Elba"
    assert await mesh.output(agent, "forecast") == '{"wind":12.5}'
    assert await mesh.output(agent, "chart") == (
        "here\n\n[5 bytes of image/png, which a model cannot read]\n\n"
        "[resource pilot: harbour://pilot (text/plain)]\n\n[harbour://log]\nall well"
    )
    sunk = await mesh.call(agent, "sinks")
    assert sunk.result.is_error
    wrong = await mesh.call(agent, "boats", '{"prot": 1}')
    assert failed(wrong)[0] == "invalid-input"
    assert lines(journal) == ["started", "boats Elba"]


async def test_a_cancelled_call_is_cancelled_at_the_server(mesh: Mesh, entry: dict[str, object], journal: Path) -> None:
    agent = mesh.agents.add(entry)
    tools = await offered(mesh, agent)
    call = asyncio.create_task(run_calls(mesh, agent, tools["sail"], '{"boat": "Ada", "seconds": 30}'))
    await until(lambda: _told(journal, "sail Ada"))
    call.cancel()
    await until(lambda: _told(journal, "called back Ada"))
    assert "arrived Ada" not in lines(journal)


async def test_a_call_that_overruns_is_open_for_a_write_and_failed_for_a_read(
    mesh: Mesh, entry: dict[str, object], journal: Path
) -> None:
    agent = mesh.agents.add({**entry, "timeout_seconds": 0.4})
    with pytest.raises(TimedOut, match=r"sail did not answer within 0\.4 s; it had come to 1 of 3: cast off"):
        await mesh.call(agent, "sail", '{"boat": "Ada", "seconds": 30}')
    await until(lambda: _told(journal, "called back Ada"))
    watched = await mesh.call(agent, "watch", '{"seconds": 30}')
    assert failed(watched)[0] == "timed-out"


async def test_a_new_run_sees_a_changed_list_and_one_under_way_keeps_its_own(
    mesh: Mesh, entry: dict[str, object]
) -> None:
    agent = mesh.agents.add(entry)
    before = await offered(mesh, agent)
    assert "launch" not in before
    assert await mesh.output(agent, "build") == "built"

    async def launched() -> bool:
        return "launch" in await offered(mesh, agent)

    await until(launched, 5)
    pinned = await run_calls(mesh, agent, before["boats"], '{"port": "Elba"}')
    assert plain(pinned.result.output) == "the Ada lies in Elba"


async def test_resources_and_prompts_are_read_by_tools_of_ours(mesh: Mesh, entry: dict[str, object]) -> None:
    assert "harbour_read_resource" not in await offered(mesh, mesh.agents.add(entry))
    agent = mesh.agents.add({**entry, "resources": True, "prompts": True})
    tools = await offered(mesh, agent)
    assert tools["harbour_read_resource"].effect == TOOL_EFFECT_KIND_READ
    listed = orjson.loads(await mesh.output(agent, "harbour_list_resources"))
    assert [each["uri"] for each in listed["resources"]] == ["harbour://pilot"]
    assert [each["uri"] for each in listed["templates"]] == ["harbour://berth/{number}"]
    assert await mesh.output(agent, "harbour_read_resource", '{"uri": "harbour://berth/7"}') == (
        "[harbour://berth/7]\nberth 7 is free"
    )
    absent = await mesh.call(agent, "harbour_read_resource", '{"uri": "harbour://none"}')
    assert "Unknown resource: harbour://none" in failed(absent)[1]
    prompts = orjson.loads(await mesh.output(agent, "harbour_list_prompts"))
    assert prompts["prompts"][0]["arguments"] == [{"name": "boat", "required": True}]
    assert await mesh.output(agent, "harbour_get_prompt", '{"name": "hail", "arguments": {"boat": "Ada"}}') == (
        "user: Ahoy, Ada!"
    )


async def test_a_program_is_killed_in_the_middle_of_a_write_and_started_once_more(mesh: Mesh, journal: Path) -> None:
    agent = mesh.agents.add(program(journal))
    await offered(mesh, agent)
    with pytest.raises(Exception, match="Connection closed") as raised:
        await mesh.call(agent, "explode")
    assert type(raised.value).__name__ == "Unavailable"
    assert await mesh.output(agent, "boats", '{"port": "Elba"}') == "the Ada lies in Elba"
    assert lines(journal) == ["started", "explode", "started", "boats Elba"]


async def test_a_program_that_dies_while_nobody_asks_is_started_again_by_itself(mesh: Mesh, journal: Path) -> None:
    agent = mesh.agents.add(program(journal, effects={"explode": "read"}))
    await offered(mesh, agent)
    died = await mesh.call(agent, "explode")
    assert failed(died)[0] == "unavailable"
    await until(lambda: _told(journal, "started", times=2))
    await connected(mesh, agent)


async def test_a_program_sees_of_the_environment_what_is_declared(mesh: Mesh, journal: Path) -> None:
    os.environ["HARBOUR_TOKEN"] = "a-token-of-the-harbour"
    os.environ["HARBOUR_OTHER"] = "none of its business"
    try:
        agent = mesh.agents.add(program(journal, env={"TOKEN": "${HARBOUR_TOKEN}", "PLAIN": "as it is"}))
        seen = orjson.loads(await mesh.output(agent, "surroundings"))
    finally:
        del os.environ["HARBOUR_TOKEN"], os.environ["HARBOUR_OTHER"]
    assert seen["PLAIN"] == "as it is"
    # It has the secret; nobody reads it in an answer.
    assert seen["TOKEN"] == "[secret]"
    assert "HARBOUR_OTHER" not in seen


async def test_agents_of_a_namespace_share_a_connection(mesh: Mesh, journal: Path) -> None:
    first = mesh.agents.add(program(journal))
    second = mesh.agents.add(program(journal, name="port", tools=["boats"], prefix="sea_"))
    assert list(await offered(mesh, second)) == ["sea_boats"]
    assert await mesh.output(first, "boats", '{"port": "a"}') != await mesh.output(second, "sea_boats", '{"port": "b"}')
    assert lines(journal).count("started") == 1


async def test_two_tools_of_one_name_are_refused_and_a_prefix_mends_it(mesh: Mesh, journal: Path) -> None:
    async with serving(harbour(journal)) as url:
        twice = mesh.agents.add(address(url, tools=["boats"]), address(url, name="port", tools=["boats"]))
        with pytest.raises(InvalidInput, match="two tools are called boats, of harbour and of port"):
            await described(mesh, twice)
        mended = mesh.agents.add(
            address(url, tools=["boats"]), address(url, name="port", tools=["boats"], prefix="port_")
        )
        assert list(await offered(mesh, mended)) == ["boats", "port_boats"]


async def test_the_file_says_what_is_offered_and_what_it_does(mesh: Mesh, journal: Path) -> None:
    async with serving(harbour(journal)) as url:
        agent = mesh.agents.add(
            address(
                url,
                tools={"include": ["boats", "b*", "moor", "gone"], "exclude": ["build"]},
                effects={"bo*": "idempotent", "boats": "write"},
                effect="read",
            )
        )
        tools = await offered(mesh, agent)
        assert {name: tool.effect for name, tool in tools.items()} == {
            "boats": TOOL_EFFECT_KIND_WRITE,
            "book": TOOL_EFFECT_KIND_IDEMPOTENT,
            "moor": TOOL_EFFECT_KIND_READ,
        }
        told = await source(mesh, agent)
        assert (told.reason, "gone: the server has no such tool" in told.message) == ("SomeLeftOut", True)


async def test_an_address_inside_the_network_is_refused_unless_it_is_allowed(mesh: Mesh, journal: Path) -> None:
    async with serving(harbour(journal)) as url:
        agent = mesh.agents.add(address(url, allow_private=False))
        told = await source(mesh, agent)
        assert (told.connected, told.reason) == (False, "Denied")
        assert "allow_private" in told.message
        by_name = mesh.agents.add(address(url.replace("127.0.0.1", "localhost"), allow_private=False))
        assert (await source(mesh, by_name)).reason == "Denied"
    assert lines(journal) == ["started"]


async def _told(journal: Path, line: str, times: int = 1) -> bool:
    return lines(journal).count(line) >= times
