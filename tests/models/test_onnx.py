"""The ONNX provider with its runtime: its replies, its grammar, its counts, and what it does to the process."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import jsonschema_rs
import orjson
import pytest

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import plain
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_text
from astromesh_router.built_in import built_in
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Patience, Pool, pool_of
from astromesh_router.dialects.onnx import Onnx
from astromesh_router.dialects.onnx_engine import Broken, Ended, Engine, Order, Step, Written
from astromesh_router.dialects.onnx_model import Model
from astromesh_router.dialects.port import Reply
from astromesh_router.provider import ProviderProtocol

from .asking import CALLED, LOOK_UP, RESULT, asking, heard, user

TINY = Candidate("onnx", "onnx", "tiny", parameters={"temperature": 0.0, "max_tokens": 40}, max_retries=0)
FRAME = len("user\n" + "\n" + "assistant\n") + 3
"""Tokens of a prompt besides the question's bytes: the template's, of which three are marks."""

NINE = {"temperature": 0.0, "min_tokens": 9, "max_tokens": 9}

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}, "ok": {"type": "boolean"}},
    "required": ["n", "ok"],
    "additionalProperties": False,
}
LONG = Order("<|im_start|>assistant\n", {"temperature": 0.0, "min_tokens": 400})


async def test_streams_by_the_token_and_counts_exactly(calls: Calls) -> None:
    question = "Hé?"
    reply = await heard(calls, asking(user(question)), replace(TINY, parameters=NINE))
    assert reply.completion.finish_reason == "length"
    assert reply.usage.input_tokens == FRAME + len(question.encode())
    assert (reply.usage.output_tokens, reply.usage.estimated) == (9, False)
    assert len(reply.texts) > 1
    assert all(len(text) == 1 for text in reply.texts), "a token is at most a character here"


async def test_says_the_same_at_temperature_zero_alone_or_among_others(calls: Calls) -> None:
    alone = await heard(calls, asking(user("hhh")), TINY)
    among = await asyncio.gather(*(heard(calls, asking(user("h" * length)), TINY) for length in range(12)))
    assert among[3].text == alone.text
    assert len({reply.text for reply in among}) > 1


async def test_calls_a_tool_and_goes_on_with_its_result(calls: Calls) -> None:
    reply = await heard(calls, asking(user("Where?"), tools=[LOOK_UP]), TINY)
    (call,) = reply.completion.message.tool_calls
    assert (call.name, plain(call.arguments)) == ("look_up", '{"city":"Ljubljana"}')
    assert (reply.text, reply.completion.finish_reason) == ("", "tool_calls")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (FRAME + len("Where?look_up") + 1, 3)
    after = await heard(calls, asking(user("Where?"), CALLED, RESULT), TINY)
    assert after.usage.input_tokens > reply.usage.input_tokens


async def test_keeps_to_a_schema(calls: Calls) -> None:
    for question in ("a", "b", "c"):
        reply = await heard(calls, asking(user(question), schema=orjson.dumps(SCHEMA).decode()), TINY)
        assert jsonschema_rs.is_valid(SCHEMA, orjson.loads(reply.text)), reply.text


async def test_a_schema_beyond_the_grammar_is_asked_for_in_words(calls: Calls) -> None:
    schema = '{"type":"array","items":{"type":"integer"},"uniqueItems":true}'
    reply = await heard(calls, asking(user("a"), schema=schema), TINY)
    plainly = await heard(calls, asking(user("a")), TINY)
    assert reply.usage.input_tokens > plainly.usage.input_tokens + len(schema), "the prompt holds the schema"


async def test_goes_on_with_an_answer_that_has_begun(models: Path) -> None:
    onnx = Onnx(models)
    counts: list[int] = []
    for prefill in ("", "Once"):
        async with aclosing(onnx.stream(TINY, asking(user("a")), prefill=prefill)) as parts:
            counts += [part.usage.input_tokens async for part in parts if isinstance(part, Reply) and part.usage]
    await onnx.close()
    assert counts[1] - counts[0] == len("Once")


async def test_stops_generating_when_the_caller_leaves(models: Path) -> None:
    made: list[Counting] = []

    def load(folder: Path) -> Counting:
        made.append(Counting(folder))
        return made[0]

    model = Model(models / "tiny", load)
    await model.ready()
    turn = model.begin(LONG)
    async with aclosing(turn.steps()) as steps:
        assert isinstance(await anext(steps), Written)
    model.leave(turn)
    again = model.begin(Order(LONG.prompt, {"max_tokens": 1}))
    async with aclosing(again.steps()) as steps:
        assert isinstance([step async for step in steps][-1], Ended)
    steps_then = made[0].steps
    await asyncio.sleep(0.3)
    await model.close()
    assert made[0].steps == steps_then < 300, "nothing is generated that nobody reads"


class Counting(Engine):
    """Counts the tokens' steps."""

    steps = 0

    def step(self) -> None:
        self.steps += 1
        super().step()


async def test_after_a_failure_of_the_runtime_the_model_serves_the_next(models: Path) -> None:
    model = Model(models / "tiny", Failing)
    await model.ready()
    ends: list[Step] = []
    for order in (LONG, LONG, Order(LONG.prompt, {"max_tokens": 1})):
        async with aclosing(model.begin(order).steps()) as steps:
            ends.append([step async for step in steps][-1])
    await model.close()
    assert ends[:2] == [Broken("the device was lost"), Broken("the device was lost")]
    assert isinstance(ends[2], Ended)


class Failing(Engine):
    """Loses its device at the fifth step of each long turn."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._steps = 0

    def step(self) -> None:
        self._steps += 1
        super().step()
        if self._steps % 5 == 0:
            self._engine = Lost()


class Lost:
    """What is left of an engine."""

    def run(self, buffer: object) -> NoReturn:
        raise RuntimeError("the device was lost")


async def test_a_prompt_with_a_nul_is_read_to_its_end(calls: Calls) -> None:
    reply = await heard(calls, asking(user("a\0b")), TINY)
    assert reply.usage.input_tokens == FRAME + len("a\ufffdb".encode())


@pytest.mark.serial
async def test_the_process_goes_on_while_a_prompt_is_read(calls: Calls) -> None:
    wide = replace(TINY, model="wide", parameters={"max_tokens": 1})
    await heard(calls, asking(user("warm")), wide)
    begun = time.monotonic()
    reading = asyncio.create_task(heard(calls, asking(user("x" * 450)), wide))
    longest, last = 0.0, begun
    while not reading.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    whole = time.monotonic() - begun
    assert longest < whole / 2, f"the event loop stood still for {longest:.3f} of {whole:.3f} s"


async def test_a_model_is_loaded_once_for_all_calls(calls: Calls) -> None:
    await asyncio.gather(*(heard(calls, asking(user("a")), TINY) for _ in range(3)))
    assert [thread.name for thread in threading.enumerate()].count("onnx tiny") == 1


async def test_closing_ends_the_thread_and_frees_the_memory(models: Path) -> None:
    order, sizes = Order("hello", {"max_tokens": 2}), list[int]()
    for _ in range(12):
        model = Model(models / "wide")
        await model.ready()
        async with aclosing(model.begin(order).steps()) as steps:
            assert isinstance([step async for step in steps][-1], Ended)
        await model.close()
        sizes.append(resident())
    assert "onnx wide" not in [thread.name for thread in threading.enumerate()]
    weights = (models / "wide" / "model.onnx").stat().st_size
    assert sizes[-1] - sizes[3] < 4 * weights, "eight loads keep less than four models' weights"


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_caller_who_does_not_wait_for_the_loading_spoils_it_for_nobody(calls: Calls) -> None:
    hasty = replace(TINY, model="wide", patience=Patience(first_token=0.01))
    results = await asyncio.gather(
        heard(calls, asking(user("a")), hasty),
        heard(calls, asking(user("a")), replace(TINY, model="wide")),
        return_exceptions=True,
    )
    assert not isinstance(results[1], BaseException)


@pytest.mark.parametrize(
    ("question", "parameters", "said"),
    [
        ("x" * 600, {}, "room for at least one"),
        ("a", {"top_p": 7.0}, "between 0.0 and 1.0"),
        ("a", {"top_k": 10**12}, "set_top_k"),
    ],
)
async def test_what_the_runtime_refuses_is_said_in_its_words(
    calls: Calls, question: str, parameters: dict[str, float], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        await heard(calls, asking(user(question)), replace(TINY, parameters=parameters))
    assert (await heard(calls, asking(user("a")), TINY)).completion.finish_reason in {"stop", "length"}


async def test_a_folder_that_holds_no_loadable_model_says_why_each_time(calls: Calls, models: Path) -> None:
    shutil.copytree(models / "tiny", models / "broken", dirs_exist_ok=True)
    (models / "broken" / "model.onnx").write_bytes(b"no graph")
    for _ in range(2):
        with pytest.raises(InvalidInput, match=r"cannot be loaded: .*model\.onnx"):
            await heard(calls, asking(user("a")), replace(TINY, model="broken"))


async def test_an_agents_file_reaches_it(calls: Calls, models: Path) -> None:
    parameters = "{temperature: 0, max_tokens: 5, top_k: 20, chat_template_kwargs: {enable_thinking: false}}"
    text = (
        "apiVersion: astromesh/v1\nkind: Agent\nmetadata: {name: a}\n"
        f"spec: {{model: {{primary: {{provider: onnx, model: {models / 'tiny'}, parameters: {parameters}}}}}}}\n"
    )
    loaded = load_text(text, "a.yaml")
    (agent,) = loaded.resources
    assert unsupported(agent) == []
    assert isinstance(agent.spec, AgentSpec)
    pool = pool_of(ResourceRef(namespace="default", name="a"), agent.spec, {}, "default")
    reply = await heard(calls, asking(user("a")), *pool.candidates)
    assert reply.usage.output_tokens <= 5
    assert reply.completion.charge.cost_nanos == 0


async def test_is_a_provider_by_itself(models: Path) -> None:
    provider = built_in("onnx", model=str(models / "tiny"), parameters={"max_tokens": 3})
    assert isinstance(provider, ProviderProtocol)
    assert await provider.health_check()
    assert (await provider.complete(asking(user("a")))).usage is not None
    await provider.close()


async def test_nothing_is_reported_to_the_vendor(calls: Calls) -> None:
    await heard(calls, asking(user("a")), TINY)
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


async def test_a_pool_of_it_alone_is_free(calls: Calls) -> None:
    responses = [each async for each in calls.complete(Pool((TINY,)), asking(user("a")))]
    assert responses[-1].completion.charge.provider == "onnx"
