"""Scenarios of what stands between a run and its tools: checked arguments and results, marks, masks, told answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from history_scenario import Scenario

from astromesh.v1 import values_pb2 as values
from astromesh.v1.memory_pb2 import RecallResponse
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.run_events_pb2 import RecalledTurns
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import Message, Passage, ToolCall, ToolResult, ToolSpec
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.runs import FRAME_PATH
from astromesh_testing.services import ADA, FakeServices, completion, text

WRITE = ToolSpec(name="pay", effect=values.TOOL_EFFECT_KIND_WRITE, timeout_ms=1000)
READ = ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000)
RULES = [{"type": "pii_detection"}]
MASKS = {"input": [{"type": "pii_detection", "action": "mask", "restore_in": ["pay"]}]}

Parts = Callable[[CompleteRequest], AsyncIterator[CompleteResponse]]


def _calling(*calls: tuple[str, str]) -> Parts:
    """Makes these calls in one step, and answers with what came of the last."""

    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        results = [message for message in request.messages if message.role == values.ROLE_TOOL]
        if request.path == FRAME_PATH:
            yield completion(f"they met {plain(request.messages[-1].content)[-40:]}")
        elif results:
            answer = f"it said {plain(results[-1].content)}, <EMAIL_1>"
            for word in answer.split(" "):
                yield text(f"{word} ")
            yield completion(f"{answer} ")
        else:
            asked = [
                ToolCall(id=f"c{number}", name=name, arguments=text_content(arguments))
                for number, (name, arguments) in enumerate(calls)
            ]
            yield completion("", *asked)

    return parts


async def _answers(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """What it was called with, a secret, and passages of which one is bad."""
    found = [Passage(id=word, source="s.md", text=text_content(word), score=0.5) for word in ("good", "forbidden fact")]
    output = f"{plain(request.call.arguments)} secret forbidden fact"
    passages = found if request.call.name == "look" else []
    return ExecuteToolResponse(result=ToolResult(output=text_content(output), passages=passages))


async def _knows(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """What it was called with, and somebody who is masked already."""
    output = f"{plain(request.call.arguments)} secret {ADA}"
    return ExecuteToolResponse(result=ToolResult(output=text_content(output)))


async def _refuses(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """A result that is blocked."""
    return ExecuteToolResponse(result=ToolResult(output=text_content("forbidden")))


def _services(parts: Parts) -> FakeServices:
    services = FakeServices()
    services.tools.specs, services.tools.execute, services.router.parts = (READ, WRITE), _answers, parts
    services.rag.passages = [
        Passage(id="k1", source="k.md", text=text_content("known"), score=0.9),
        Passage(id="k2", source="k.md", text=text_content("forbidden"), score=0.8),
    ]
    return services


def guard_scenarios() -> dict[str, Scenario]:
    """By the name of their file."""
    checked = {"tool_arguments": RULES, "tool_results": RULES}
    webhook = {"type": "webhook", "name": "look", "url": "https://example.org", "method": "GET"}
    found = {
        "arguments-checked": Scenario(
            _services(_calling(("pay", '{"to": "secret"}'), ("pay", '{"to": "forbidden"}'), ("look", "{}"))),
            {"guardrails": {"tool_arguments": RULES}},
        ),
        "results-checked": Scenario(
            _services(_calling(("look", "{}"), ("pay", '{"to": "x"}'))),
            {"guardrails": checked, "knowledge": {"pipeline": "docs"}, "prompts": {"system": "Be kind."}},
        ),
        "result-blocked": Scenario(_services(_calling(("look", "{}"))), {"guardrails": checked}),
        "marked-data": Scenario(
            _services(_calling(("look", "{}"))),
            {"tools": [webhook], "knowledge": {"pipeline": "docs"}, "memory": {"conversational": {}}},
            session="s",
        ),
        "masked": Scenario(
            _services(_calling(("pay", '{"to": "<EMAIL_1>"}'), ("look", '{"who": "<EMAIL_1>"}'))),
            {
                "guardrails": {**MASKS, "output": RULES},
                "prompts": {"system": f"Write as {ADA} would."},
                "memory": {"conversational": {"strategy": "summary"}},
            },
            query=f"who is {ADA}?",
            session="s",
        ),
        "told-while-checked": Scenario(_services(_calling(("look", "{}"))), {"guardrails": {"output": RULES}}),
    }
    for name in ("masked", "told-while-checked"):
        found[name].services.tools.execute = _knows
    found["result-blocked"].services.tools.execute = _refuses
    said = [Message(role=values.ROLE_USER, content=text_content(f"I am {ADA}"))]
    found["masked"].services.memory.recalled = RecallResponse(
        messages=said,
        run_ids=["07-before"],
        summary=text_content(f"{ADA} called"),
        to_fold=RecalledTurns(messages=said, through_run_id="07-first"),
    )
    return found
