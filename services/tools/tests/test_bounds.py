"""A tool within its bounds: at once, in a time, after failures, answered again, and cut; over the service itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import orjson
import pytest

from astromesh.v1.tools_pb2 import DescribeToolsRequest
from astromesh.v1.values_pb2 import Content, ResourceRef, ToolResult
from astromesh_core.errors import TimedOut, Unavailable
from astromesh_core.events.contents import plain
from astromesh_core.events.token_estimates import text_tokens
from astromesh_core.resources.tool_controls import ToolCache
from astromesh_testing.contracts.placement import in_process
from astromesh_tools.answered import Answers, key_of
from astromesh_tools.cutting import ResultLimit
from astromesh_tools.rates import Window

from .serving import Mesh, failed, function, running


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncGenerator[Mesh]:
    async with running(tmp_path / "tools", in_process) as mesh:
        mesh.write("shop", (Path(__file__).parent / "ledger.py").read_text())
        yield mesh


async def figures(mesh: Mesh, agent: ResourceRef) -> dict[str, object]:
    return orjson.loads(await mesh.output(agent, "figures"))


def soon(seconds: float) -> int:
    return time.time_ns() + int(seconds * 1e9)


def work(mesh: Mesh, **bounds: object) -> ResourceRef:
    return mesh.agents.add(function("work", **bounds), function("figures"), function("broke", effect="write"))


async def test_no_more_calls_run_at_once_and_one_that_cannot_begin_in_time_was_not_made(mesh: Mesh) -> None:
    agent = work(mesh, max_concurrency=2)
    calls = [mesh.call(agent, "work", '{"what": "a", "seconds": 0.1}') for _ in range(6)]
    assert all(response.HasField("result") for response in await asyncio.gather(*calls))
    assert (await figures(mesh, agent))["most"] == 2
    long = [asyncio.ensure_future(mesh.call(agent, "work", '{"what": "b", "seconds": 0.5}')) for _ in range(2)]
    await asyncio.sleep(0.05)
    error_class, told = failed(await mesh.call(agent, "work", '{"what": "late"}', start_before=soon(0.1)))
    assert error_class == "rate-limited"
    assert "2 times at once" in told
    await asyncio.gather(*long)
    assert "late" not in str((await figures(mesh, agent))["made"])


async def test_calls_beyond_the_rate_wait_where_they_may_and_are_refused_where_not(mesh: Mesh) -> None:
    agent = work(mesh, effect="write", rate_limit={"max_calls": 2, "window_seconds": 0.5})
    begun = time.monotonic()
    for _ in range(3):
        assert (await mesh.call(agent, "work")).HasField("result")
    assert time.monotonic() - begun >= 0.45
    assert (await mesh.call(agent, "work")).HasField("result")
    assert failed(await mesh.call(agent, "work", "{}", start_before=soon(0.02)))[0] == "rate-limited"
    wrong = await mesh.call(agent, "work", '{"wat": 1}', start_before=soon(0.02))
    assert failed(wrong)[0] == "invalid-input"


async def test_a_tool_that_fails_in_a_row_is_left_alone_until_a_probe_succeeds(mesh: Mesh) -> None:
    agent = work(mesh, circuit_breaker={"failure_threshold": 2, "cooldown_seconds": 0.3})
    await mesh.call(agent, "broke", '{"is_so": true}')
    for _ in range(2):
        assert "the shop is shut" in failed(await mesh.call(agent, "work"))[1]
    response = await mesh.call(agent, "work")
    assert failed(response)[0] == "unavailable"
    assert "left alone: it failed 2 times in a row, last: the shop is shut" in failed(response)[1]
    assert 0 < response.failure.retry_after_ms <= 300
    await mesh.call(agent, "broke", '{"is_so": false}')
    await asyncio.sleep(0.3)
    assert (await mesh.call(agent, "work")).HasField("result")
    for _ in range(3):
        assert failed(await mesh.call(agent, "work", '{"what": "nothing"}'))[0] == "not-found"
    assert (await mesh.call(agent, "work")).HasField("result")


async def test_a_write_without_an_answer_counts_as_a_failure_and_stays_open(mesh: Mesh) -> None:
    breaker = {"failure_threshold": 1, "cooldown_seconds": 60}
    agent = work(mesh, effect="write", timeout_seconds=0.05, circuit_breaker=breaker)
    with pytest.raises(TimedOut):
        await mesh.call(agent, "work", '{"seconds": 1}')
    assert failed(await mesh.call(agent, "work"))[0] == "unavailable"


async def test_equal_arguments_of_a_read_are_answered_once_and_only_within_one_agent(mesh: Mesh) -> None:
    agent, other = work(mesh, cache={"ttl_seconds": 60}), work(mesh, cache={"ttl_seconds": 60}, description="else")
    first = (await mesh.call(agent, "work", '{"what": "a", "seconds": 0}')).result
    again = (await mesh.call(agent, "work", '{"seconds":0,"what":"a"}')).result
    assert (plain(first.output), first.cached) == (plain(again.output), not again.cached)
    for asked, arguments in ((agent, '{"what": "b"}'), (other, '{"what": "a", "seconds": 0}')):
        assert not (await mesh.call(asked, "work", arguments)).result.cached
    for _ in range(2):
        assert failed(await mesh.call(agent, "work", '{"what": "nothing"}'))[0] == "not-found"
    assert (await figures(mesh, agent))["made"] == ["a", "b", "a", "nothing", "nothing"]


def test_answers_end_and_the_oldest_go_first() -> None:
    now = 0.0
    answers = Answers(ToolCache(ttl_seconds=10, max_entries=2), lambda: now)
    for name in ("a", "b", "c"):
        answers.keep(name.encode(), ToolResult(name=name))
    assert [answers.find(key, "1") is not None for key in (b"a", b"b", b"c")] == [False, True, True]
    now = 10.0
    assert answers.find(b"c", "1") is None
    assert key_of("{") is None


def test_a_window_counts_every_span_of_its_length() -> None:
    window = Window(2, 10)
    assert [window.take(now) for now in (0, 6, 7, 10, 11, 16)] == [0, 0, 3, 0, 5, 0]


async def test_a_long_result_is_cut_for_the_model_and_kept_whole(mesh: Mesh) -> None:
    agent = mesh.agents.add(function("long", max_result_bytes=1001))
    result = (await mesh.call(agent, "long", at="2.1")).result
    shown, _, mark = plain(result.output).partition("\n")
    assert shown == "é" * 500
    assert mark == "[cut: these are the first 500 of 200000 characters; the others are left out]"
    assert plain(Content.FromString(await mesh.values.get(result.whole))) == "é" * 200_000
    by_hand = (await mesh.call(agent, "long")).result
    assert (len(plain(by_hand.output)), by_hand.HasField("whole")) == (200_000, False)


async def test_a_result_counts_though_its_whole_cannot_be_kept(mesh: Mesh) -> None:
    agent = mesh.agents.add(function("long", effect="write"), {"name": "read_result", "type": "builtin"})
    mesh.values.away = Unavailable("the object store is away")
    result = (await mesh.call(agent, "long", at="2.1")).result
    assert plain(result.output).startswith("é" * 50_000 + "\n[cut")
    assert not result.HasField("whole")
    assert "read_result" not in plain(result.output)


@pytest.mark.parametrize("text", ["word " * 5_000, "日本語" * 3_000, " " * 500_000, "{}[]" * 4_000])
def test_a_limit_in_tokens_takes_as_much_as_fits(text: str) -> None:
    count = ResultLimit(most_tokens=1_000).fitting(text)
    assert text_tokens(text[:count]) <= 1_000
    assert count == len(text) or text_tokens(text[: count + 1]) > 1_000 or count == 64_000
    assert ResultLimit(most_tokens=100_000_000 // 64).fitting(text) == len(text)


async def test_what_was_cut_off_is_read_on_by_the_path_of_its_call_and_nothing_else_is(mesh: Mesh) -> None:
    reader: dict[str, object] = {"name": "more", "type": "builtin", "tool": "read_result"}
    agent = mesh.agents.add(function("long", max_result_bytes=256), reader)
    tools = (await mesh.stub.DescribeTools(DescribeToolsRequest(agent=agent))).tools
    assert [tool.reads_results for tool in tools] == [False, True]
    arguments = '{"letters": "abc", "count": 100}'
    result = (await mesh.call(agent, "long", arguments, at="4.2")).result
    assert plain(result.output).endswith('characters; more with {"path":"4.2","start":256} reads on]')
    cut = {"4.2": result.whole}
    read = await mesh.call(agent, "more", '{"path": "4.2", "start": 256, "max_length": 10}', at="2.1", cut=cut)
    assert plain(read.result.output) == "bcabcabcab\n[characters 256 to 266 of 300; read on from 266]"
    rest = await mesh.call(agent, "more", '{"path": "4.2", "start": 290}', at="2.1", cut=cut)
    assert plain(rest.result.output) == "cabcabcabc"
    for wrong in ('{"path": "4.1"}', '{"path": "4.2", "start": 300}'):
        assert failed(await mesh.call(agent, "more", wrong, at="2.1", cut=cut))[0] in ("not-found", "invalid-input")
