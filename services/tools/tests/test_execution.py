"""What each ending of a call means to the engine, over both placements."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from astromesh.v1.tools_pb2 import DescribeToolsRequest
from astromesh.v1.values_pb2 import (
    TOOL_EFFECT_KIND_IDEMPOTENT,
    TOOL_EFFECT_KIND_READ,
)
from astromesh_core.errors import InvalidInput, NotFound, TimedOut
from astromesh_core.events.contents import plain
from astromesh_core.rpc.identity import Caller, acting_for
from astromesh_core.telemetry.otel import collecting
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_testing.contracts.placement import Placement

from .serving import Mesh, failed, function, running

if TYPE_CHECKING:
    pass


@pytest.fixture
async def mesh(tmp_path: Path, placement: Placement) -> AsyncGenerator[Mesh]:
    async with running(tmp_path / "tools", placement) as mesh:
        yield mesh


SHOP = (Path(__file__).parent / "shop.py").read_text()


@pytest.fixture
def shop(mesh: Mesh) -> Mesh:
    mesh.write("shop", SHOP)
    return mesh


async def test_the_catalogue_says_what_the_signature_says_in_the_order_of_the_yaml(shop: Mesh) -> None:
    agent = shop.agents.add(
        function("later"), function("order", effect="idempotent", timeout_seconds=3), function("add")
    )
    tools = (await shop.stub.DescribeTools(DescribeToolsRequest(agent=agent))).tools
    assert [tool.name for tool in tools] == ["later", "order", "add"]
    assert [tool.effect for tool in tools[:2]] == [TOOL_EFFECT_KIND_READ, TOOL_EFFECT_KIND_IDEMPOTENT]
    assert tools[1].timeout_ms == 3000
    assert tools[2].description == "Adds two numbers."
    assert orjson.loads(tools[2].parameters_json) == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "the first"},
            "b": {"type": "integer", "description": "the second", "default": 1},
        },
        "required": ["a"],
        "additionalProperties": False,
    }
    assert "idempotency_key" not in tools[1].parameters_json


async def test_a_function_answers(shop: Mesh) -> None:
    agent = shop.agents.add(*map(function, ("add", "later", "day")))
    assert await shop.output(agent, "add", '{"a": 2, "b": 3}') == "5"
    assert await shop.output(agent, "add", '{"a": 2}') == "3"
    assert await shop.output(agent, "later", '{"seconds": 0}') == "slept"
    assert await shop.output(agent, "day", '{"when": "2024-02-28"}') == '{"next":"2024-02-29"}'
    response = await shop.call(agent, "add", '{"a": 2}')
    assert (response.result.tool_call_id, response.result.name) == ("c1", "add")
    assert response.timing.start_unix_nano > 0
    assert response.timing.duration_nano > 0


async def test_the_idempotency_key_is_given_to_a_function_that_takes_it(shop: Mesh) -> None:
    agent = shop.agents.add(function("order", effect="write"))
    assert await shop.output(agent, "order", '{"item": "tea"}') == "tea under run:2.1"
    response = await shop.call(agent, "order", '{"item": "tea", "idempotency_key": "mine"}')
    assert failed(response)[0] == "invalid-input"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('{"a": "2"}', 'a: "2" is not of type "integer"'),
        ("{}", '"a" is a required property'),
        ('{"a": 1, "c": 1}', "'c' was unexpected"),
        ("[1]", "must be a JSON object"),
        ('{"a": ', "are not JSON"),
    ],
)
async def test_wrong_arguments_tell_the_model_what_is_wrong(shop: Mesh, arguments: str, said: str) -> None:
    kind, message = failed(await shop.call(shop.agents.add(function("add")), "add", arguments))
    assert kind == "invalid-input"
    assert said in message


async def test_parameters_in_the_yaml_are_checked_instead_of_the_signature(shop: Mesh) -> None:
    agent = shop.agents.add(function("add", parameters={"a": {"type": "integer", "maximum": 5}}))
    assert await shop.output(agent, "add", '{"a": 5}') == "6"
    assert "6 is greater than the maximum of 5" in failed(await shop.call(agent, "add", '{"a": 6}'))[1]


@pytest.mark.parametrize("effect", ["read", "idempotent", "write"])
async def test_an_exception_is_a_definite_failure_whatever_the_effect(shop: Mesh, effect: str) -> None:
    names = ("breaks", "busy", "leaves", "times_out_itself")
    agent = shop.agents.add(*(function(name, effect=effect) for name in names))
    assert failed(await shop.call(agent, "breaks")) == ("permanent", "LookupError: no such order")
    assert failed(await shop.call(agent, "leaves")) == ("permanent", "SystemExit: 3")
    assert failed(await shop.call(agent, "times_out_itself")) == ("permanent", "TimeoutError: the bank")
    busy = await shop.call(agent, "busy")
    assert failed(busy) == ("rate-limited", "slow down")
    assert busy.failure.retry_after_ms == 2000


@pytest.mark.parametrize("name", ["later", "block"])
async def test_a_read_that_overruns_has_failed(shop: Mesh, name: str) -> None:
    agent = shop.agents.add(function(name, timeout_seconds=0.1))
    kind, message = failed(await shop.call(agent, name, '{"seconds": 0.6}'))
    assert kind == "timed-out"
    assert "0.1 s" in message


@pytest.mark.parametrize("name", ["later", "block"])
@pytest.mark.parametrize("effect", ["idempotent", "write"])
async def test_what_changes_the_world_and_overruns_is_open(shop: Mesh, name: str, effect: str) -> None:
    agent = shop.agents.add(function(name, effect=effect, timeout_seconds=0.1))
    with pytest.raises(TimedOut):
        await shop.call(agent, name, '{"seconds": 0.6}')


async def test_a_start_that_comes_too_late_is_refused_and_nothing_starts(shop: Mesh) -> None:
    agent = shop.agents.add(function("block", effect="write"), function("seen"))
    late = time.time_ns() - 1
    assert failed(await shop.call(agent, "block", '{"seconds": 0}', start_before=late))[0] == "timed-out"
    assert orjson.loads(await shop.output(agent, "seen"))["started"] == []


async def test_a_write_that_finds_no_thread_has_definitely_not_started(shop: Mesh) -> None:
    agent = shop.agents.add(function("block", effect="write", timeout_seconds=5), function("later"), function("seen"))
    quick = shop.agents.add(function("block", effect="write", timeout_seconds=0.1))
    busy = [asyncio.create_task(shop.call(agent, "block", '{"seconds": 0.5}')) for _ in range(4)]
    await asyncio.sleep(0.1)
    kind, message = failed(await shop.call(quick, "block", '{"seconds": 7}'))
    assert kind == "timed-out"
    assert "not started" in message
    await asyncio.gather(*busy)
    assert 7 not in orjson.loads(await shop.output(agent, "seen"))["started"]


async def test_functions_do_not_wait_for_each_other(shop: Mesh) -> None:
    agent = shop.agents.add(function("later"), function("block"), function("add"))
    await shop.output(agent, "add", '{"a": 1}')
    started = time.perf_counter()
    waits = [shop.output(agent, name, '{"seconds": 0.3}') for name in ("later", "block", "block")]
    assert await asyncio.gather(*waits, shop.output(agent, "add", '{"a": 1}')) == ["slept", "slept", "slept", "2"]
    assert time.perf_counter() - started < 0.8


async def test_a_caller_that_leaves_cancels_an_async_function(shop: Mesh) -> None:
    agent = shop.agents.add(function("later"), function("seen"), function("happened"))
    call = asyncio.create_task(shop.call(agent, "later", '{"seconds": 9}'))
    assert await shop.output(agent, "happened", '{"what": "started"}') == "true"
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await shop.output(agent, "happened", '{"what": "cancelled"}') == "true"


async def test_an_unknown_tool_is_answered_with_the_names_that_exist(shop: Mesh) -> None:
    agent = shop.agents.add(function("add"), function("day"))
    kind, message = failed(await shop.call(agent, "subtract"))
    assert kind == "not-found"
    assert "add, day" in message


async def test_results_of_any_kind_become_text(shop: Mesh) -> None:
    agent = shop.agents.add(*map(function, ("surrogate", "odd", "breaks")))
    assert await shop.output(agent, "surrogate") == "a?b"
    assert orjson.loads(await shop.output(agent, "odd"))["y"] == [1]


async def test_retrieval_answers_with_passages(shop: Mesh) -> None:
    agent = shop.agents.add(
        {"name": "look", "type": "rag", "pipeline": "kb", "top_k": 3},
        {"name": "far", "type": "rag", "pipeline": "x/gone"},
    )
    spec = (await shop.stub.DescribeTools(DescribeToolsRequest(agent=agent))).tools[0]
    assert spec.retrieves
    assert orjson.loads(spec.parameters_json)["required"] == ["query"]
    result = (await shop.call(agent, "look", '{"query": "hi"}')).result
    assert orjson.loads(plain(result.output)) == {
        "passages": [{"source": "a.md", "text": "hello", "score": 0.5, "start": 3, "end": 8}]
    }
    assert [passage.id for passage in result.passages] == ["1"]
    asked = shop.book.asked[0]
    assert (asked.namespace, asked.pipeline, plain(asked.query), asked.top_k) == ("shop", "kb", "hi", 3)
    assert asked.filter_json == ""
    assert failed(await shop.call(agent, "far", '{"query": "hi"}'))[0] == "not-found"
    assert shop.book.asked[1].namespace == "x"
    assert failed(await shop.call(agent, "look", '{"query": ""}'))[0] == "invalid-input"


async def test_retrieval_is_bound_by_what_is_declared_and_by_what_the_model_asks(shop: Mesh) -> None:
    bound: dict[str, object] = {"name": "look", "type": "rag", "pipeline": "kb", "filter": {"team": "support"}}
    agent = shop.agents.add(bound, {"name": "free", "type": "rag", "pipeline": "kb"})
    for tool, arguments, expected in (
        ("look", {}, {"team": "support"}),
        ("look", {"filter": {"year": {"$gte": 2024}}}, {"$and": [{"team": "support"}, {"year": {"$gte": 2024}}]}),
        ("free", {"filter": {"source": "a.md"}}, {"source": "a.md"}),
    ):
        await shop.call(agent, tool, orjson.dumps({"query": "hi", **arguments}).decode())
        assert orjson.loads(shop.book.asked[-1].filter_json) == expected
    assert failed(await shop.call(agent, "free", '{"query": "hi", "filter": "a.md"}'))[0] == "invalid-input"


async def test_a_tool_that_cannot_be_offered_names_itself_and_the_reason(shop: Mesh) -> None:
    missing = shop.agents.add(function("nothing"))
    with pytest.raises(InvalidInput, match=r"tool nothing: shop:nothing: nothing does not exist"):
        await shop.stub.DescribeTools(DescribeToolsRequest(agent=missing))
    no_module = shop.agents.add({"name": "x", "type": "internal", "function": "nowhere:x"})
    with pytest.raises(InvalidInput, match=r"ModuleNotFoundError: No module named 'nowhere'"):
        await shop.call(no_module, "x")
    with pytest.raises(NotFound):
        await shop.call(type(missing)(kind="Agent", namespace="shop", name="desk", sha256=b"?"), "x")


async def test_functions_on_the_python_path_are_found(shop: Mesh) -> None:
    agent = shop.agents.add({"name": "dedent", "type": "internal", "function": "textwrap:dedent"})
    assert await shop.output(agent, "dedent", '{"text": "  a"}') == "a"


async def test_an_edit_is_picked_up_and_a_broken_one_leaves_the_last_good(shop: Mesh) -> None:
    agent = shop.agents.add(function("add"))
    assert await shop.output(agent, "add", '{"a": 1}') == "2"
    shop.write("shop", SHOP.replace("return a + b", "return a - b"))
    await asyncio.sleep(0.6)
    assert await shop.output(agent, "add", '{"a": 1}') == "0"
    shop.write("shop", "def add(:")
    await asyncio.sleep(0.6)
    assert await shop.output(agent, "add", '{"a": 1}') == "0"


async def test_two_meshes_in_one_process_have_modules_of_their_own(tmp_path: Path, placement: Placement) -> None:
    async with running(tmp_path / "a", placement) as first, running(tmp_path / "b", placement) as second:
        for mesh, word in ((first, "one"), (second, "two")):
            mesh.write(
                "shop", "import words\nfrom words import WORD\ndef say() -> str:\n    return words.WORD + WORD\n"
            )
            mesh.write("words", f"WORD = {word!r}\n")
        await asyncio.sleep(0.6)
        assert await first.output(first.agents.add(function("say")), "say") == "oneone"
        assert await second.output(second.agents.add(function("say")), "say") == "twotwo"


async def test_a_call_is_a_span_that_names_the_tool_and_holds_no_content(tmp_path: Path, placement: Placement) -> None:
    exporter = InMemorySpanExporter()
    async with running(tmp_path / "tools", placement, Telemetry(collecting(exporter))) as mesh:
        mesh.write("shop", SHOP)
        agent = mesh.agents.add(function("add"))
        await mesh.output(agent, "add", '{"a": 1234, "b": 1}')
        await mesh.call(agent, "add", '{"a": "1234"}')
    good, bad = (span for span in exporter.get_finished_spans() if span.name == "execute_tool add")
    assert good.attributes is not None
    assert dict(good.attributes) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "internal",
        "gen_ai.tool.call.id": "c1",
    }
    assert not bad.status.is_ok


async def test_a_call_by_hand_obeys_the_permissions_of_its_callers_role(shop: Mesh) -> None:
    rule = {"tool": "add", "when": "a > 10", "roles": ["user"]}
    agent = shop.agents.add(function("add"), permissions={"deny": [rule]})
    with acting_for(Caller("key", "shop", "user")):
        assert await shop.output(agent, "add", '{"a": 10}') == "11"
        error_class, told = failed(await shop.call(agent, "add", '{"a": 11}'))
        assert error_class == "denied"
        assert "'add when a > 10 for user'" in told
    with acting_for(Caller("boss", "shop", "admin")):
        assert await shop.output(agent, "add", '{"a": 11}') == "12"
    assert failed(await shop.call(agent, "add", '{"a": 11}'))[0] == "denied"
    assert (await shop.call(agent, "add", '{"a": 11}', at="2.1")).HasField("result")


async def test_a_call_by_hand_that_a_human_approves_is_made_by_those_who_may_approve(shop: Mesh) -> None:
    agent = shop.agents.add(function("add", effect="write", approval="when: a > 10", approval_role="admin"))
    with acting_for(Caller("key", "shop", "user")):
        assert await shop.output(agent, "add", '{"a": 10}') == "11"
        assert failed(await shop.call(agent, "add", '{"a": 11}')) == (
            "denied",
            "such a call of add is approved by the role 'admin': call it as one, or in a run",
        )
    with acting_for(Caller("boss", "shop", "admin")):
        assert await shop.output(agent, "add", '{"a": 11}') == "12"
