"""What the router's tests share: building requests and candidates, and gathering a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from astromesh.v1.router_pb2 import Asked, CompleteRequest, CompleteResponse, Completion
from astromesh.v1.values_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Charge,
    Message,
    Route,
    ToolCall,
    ToolSpec,
)
from astromesh_core.errors import NotSupported
from astromesh_core.events.contents import text_content
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Patience, Pool
from astromesh_testing.models.ollama import OllamaServer
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_vectors.ports import Embedder

SHORT = Patience(first_token=0.3, between_tokens=0.3)
QUERY_SCHEMA = '{"type":"object","properties":{"query":{"type":"string"}},"required":["query"]}'
SEARCH = ToolSpec(name="search_docs", description="Finds passages", parameters_json=QUERY_SCHEMA, retrieves=True)
ADD = ToolSpec(
    name="add", description="Adds", parameters_json='{"type":"object","properties":{"a":{"type":"integer"}}}'
)
KEY = "sk-very-secret-0123456789"


def system(text: str) -> Message:
    return Message(role=ROLE_SYSTEM, content=text_content(text))


def user(text: str) -> Message:
    return Message(role=ROLE_USER, content=text_content(text))


def called(name: str, arguments: str, call_id: str) -> Message:
    call = ToolCall(id=call_id, name=name, arguments=text_content(arguments))
    return Message(role=ROLE_ASSISTANT, content=text_content(""), tool_calls=[call])


def result(name: str, text: str, call_id: str) -> Message:
    return Message(role=ROLE_TOOL, content=text_content(text), name=name, tool_call_id=call_id)


def asking(*messages: Message, tools: Sequence[ToolSpec] = (), path: str = "1") -> CompleteRequest:
    return CompleteRequest(messages=messages or [user("hello")], tools=tools, run_id="00-run", path=path)


def openai(server: OpenAIChatServer) -> Candidate:
    return Candidate("openai_compat", "openai_compat", "stub-1", server.endpoint, patience=SHORT, max_retries=0)


def ollama(server: OllamaServer) -> Candidate:
    return Candidate("ollama", "ollama", "llama", server.endpoint, patience=SHORT, max_retries=0)


def nowhere(port: int) -> Candidate:
    """An Ollama that is not there."""
    return Candidate("ollama", "ollama", "llama", f"http://127.0.0.1:{port}")


def no_embedder() -> Embedder:
    raise NotSupported("no weights in tests")


@dataclass
class Gathered:
    """A stream as a user saw it: `texts` holds what was shown, `voided` what restarts took back."""

    texts: list[str] = field(default_factory=list[str])
    voided: list[str] = field(default_factory=list[str])
    reasons: list[str] = field(default_factory=list[str])
    completions: list[Completion] = field(default_factory=list[Completion])
    thoughts: list[str] = field(default_factory=list[str])
    partial_charges: list[Charge] = field(default_factory=list[Charge])
    asked: list[Asked] = field(default_factory=list[Asked])
    """Who was said to answer, and `failed_routes` what became of all when nobody did."""
    failed_routes: list[Route] = field(default_factory=list[Route])

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def completion(self) -> Completion:
        (only,) = self.completions
        return only

    def add(self, response: CompleteResponse) -> None:
        assert not self.completions, "nothing comes after the completion"
        if response.HasField("asked"):
            self.asked.append(response.asked)
        match response.WhichOneof("part"):
            case "text_delta":
                self.texts.append(response.text_delta)
            case "reasoning_delta":
                self.thoughts.append(response.reasoning_delta)
            case "partial_charge":
                self.partial_charges.append(response.partial_charge)
            case "failed_route":
                self.failed_routes.append(response.failed_route)
            case "restart":
                self.voided.append(self.text)
                self.texts.clear()
                self.reasons.append(response.restart.reason)
            case _:
                self.completions.append(response.completion)


async def gather(parts: AsyncGenerator[CompleteResponse, None], gathered: Gathered) -> Gathered:
    async with aclosing(parts):
        async for part in parts:
            gathered.add(part)
    return gathered


async def complete(calls: Calls, request: CompleteRequest, *candidates: Candidate) -> Gathered:
    return await gather(calls.complete(Pool(candidates), request), Gathered())
