"""Requests to models whose words mean nothing, and what is heard of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from astromesh.v1.router_pb2 import CompleteRequest, Completion
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_TOOL, ROLE_USER, Message, ToolCall, ToolSpec, Usage
from astromesh_core.events.contents import plain, text_content
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Pool

OBJECT = '{"type":"object","properties":{"city":{"type":"string","maxLength":5}},"required":["city"]}'
LOOK_UP = ToolSpec(name="look_up", description="Looks a city up", parameters_json=OBJECT)
CALLED = Message(
    role=ROLE_ASSISTANT,
    content=text_content(""),
    tool_calls=[ToolCall(id="c1", name="look_up", arguments=text_content('{"city":"Bled"}'))],
)
RESULT = Message(role=ROLE_TOOL, content=text_content("a lake"), name="look_up", tool_call_id="c1")


def user(text: str) -> Message:
    return Message(role=ROLE_USER, content=text_content(text))


def asking(*messages: Message, tools: Sequence[ToolSpec] = (), schema: str = "") -> CompleteRequest:
    return CompleteRequest(messages=messages, tools=tools, output_schema_json=schema, run_id="00-run", path="1")


@dataclass
class Heard:
    """A stream as its reader saw it."""

    texts: list[str] = field(default_factory=list[str])
    restarts: int = 0
    completion: Completion = field(default_factory=Completion)

    @property
    def text(self) -> str:
        return plain(self.completion.message.content)

    @property
    def usage(self) -> Usage:
        return self.completion.charge.usage


async def heard(calls: Calls, request: CompleteRequest, *candidates: Candidate) -> Heard:
    """The whole stream of one call; its deltas, joined, are the text of its message."""
    found = Heard()
    async with aclosing(calls.complete(Pool(candidates), request)) as responses:
        async for response in responses:
            match response.WhichOneof("part"):
                case "text_delta":
                    found.texts.append(response.text_delta)
                case "restart":
                    found.restarts += 1
                    found.texts.clear()
                case "completion":
                    found.completion = response.completion
                case _:
                    pass
    assert "".join(found.texts) == found.text
    return found
