"""OpenAI's formats: requests as far as an agent has a use for them, replies, chunks and errors.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from typing import Literal

import orjson
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from astromesh.v1.runs_pb2 import Run
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_TOOL, ROLE_USER, Message, Role, ToolCall, Usage
from astromesh_core.errors import AstromeshError, InvalidInput, NotFound, RateLimited
from astromesh_core.events.contents import text_content
from astromesh_core.problems import MEDIA_TYPE
from astromesh_gateway.auth import Unauthenticated
from astromesh_gateway.failures import headers_of, problem_document, status_of
from astromesh_gateway.replies import shown

Document = dict[str, JsonValue]

_ROLES: dict[str, Role.ValueType] = {
    "system": ROLE_SYSTEM,
    "developer": ROLE_SYSTEM,
    "user": ROLE_USER,
    "assistant": ROLE_ASSISTANT,
    "tool": ROLE_TOOL,
}

DECIDED_BY_THE_AGENT = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "reasoning_effort",
    "verbosity",
    "service_tier",
    "store",
    "parallel_tool_calls",
)
"""Taken, because clients send them unasked, and without effect: the agent's resource decides. A header names them."""


class TextPart(BaseModel):
    """A part of a message. Agents read text."""

    type: Literal["text"]
    text: str


class FunctionCall(BaseModel):
    """What was to be called."""

    name: str
    arguments: str


class ChatToolCall(BaseModel):
    """A call that an assistant asked for."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(BaseModel):
    """One message of the transcript."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: str = ""
    name: str = ""


class StreamOptions(BaseModel):
    """What a stream tells besides the text."""

    include_usage: bool = False


class ChatBody(BaseModel):
    """A chat completion. What would change the answer's form and is not built is refused."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="The agent.", examples=["docs-agent"])
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    user: str = ""
    session_id: str = Field(default="", description="Ours: reads and writes the session's memory.")
    metadata: dict[str, str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    parallel_tool_calls: bool | None = None

    def without_effect(self) -> list[str]:
        """The fields given that the agent's resource decides."""
        return [name for name in DECIDED_BY_THE_AGENT if getattr(self, name) is not None]


def split_transcript(messages: list[ChatMessage]) -> tuple[str, tuple[Message, ...]]:
    """The question, which is the last message, and the turns before it. Raises InvalidInput where nobody asks."""
    *earlier, last = messages
    if last.role != "user":
        raise InvalidInput(f"the last message is the {last.role}'s: it must be the user's, which is the question")
    return _text(last), tuple(_message(message) for message in earlier)


def completion(run: Run, created: int) -> Document:
    """A whole chat completion."""
    return {
        "id": f"chatcmpl-{run.run_id}",
        "object": "chat.completion",
        "created": created,
        "model": run.agent,
        "run_id": run.run_id,
        "session_id": shown(run.session_id),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": shown(run.answer), "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": usage(run.usage),
    }


def chunk(run_id: str, model: str, created: int, delta: Document, finish_reason: str | None = None) -> Document:
    """A piece of a streamed completion."""
    return {
        "id": f"chatcmpl-{run_id}",
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "run_id": run_id,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }


def usage(used: Usage) -> Document:
    """Tokens in OpenAI's words."""
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.input_tokens + used.output_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
    }


def error_document(error: AstromeshError, run_id: str = "") -> Document:
    """An error in OpenAI's format within a problem document, and the run it happened in."""
    kind, code = _kind(error)
    body: Document = {"message": error.message, "type": kind, "param": None, "code": code}
    if run_id:
        body["run_id"] = run_id
    return {**problem_document(error, run_id=run_id), "error": body}


def error_response(error: AstromeshError, run_id: str = "") -> Response:
    """The answer that an error becomes. One of a run that exists is not to be tried again by the client on its own."""
    headers = headers_of(error)
    if run_id:
        headers |= {"X-Run-Id": run_id, "X-Should-Retry": "false"}
    return Response(orjson.dumps(error_document(error, run_id)), status_of(error), headers, MEDIA_TYPE)


def _kind(error: AstromeshError) -> tuple[str, str]:
    if isinstance(error, Unauthenticated):
        return "authentication_error", "invalid_api_key"
    if isinstance(error, RateLimited):
        return "rate_limit_error", "rate_limit_exceeded"
    if isinstance(error, NotFound):
        return "invalid_request_error", "model_not_found"
    return ("server_error" if status_of(error) >= 500 else "invalid_request_error"), error.code


def _message(message: ChatMessage) -> Message:
    return Message(
        role=_ROLES[message.role],
        content=text_content(_text(message)),
        tool_calls=[
            ToolCall(id=call.id, name=call.function.name, arguments=text_content(call.function.arguments))
            for call in message.tool_calls or ()
        ],
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def _text(message: ChatMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return "".join(part.text for part in message.content)
