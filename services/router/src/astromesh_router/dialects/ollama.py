"""Ollama's own chat: the request, and the decoder of its lines of JSON.

Rules of the stream: each line has `message` with text in `content`; tool calls come whole, without ids, their
arguments as an object; the last line has `done: true` with its reason and the token counts; `{"error": …}` may come
instead of any line. Parameters: sampling goes under `options`, `max_tokens` as `num_predict`.
Source: Ollama API documentation, "Generate a chat message".
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import ROLE_TOOL, Message, ToolCall, Usage
from astromesh_core.events.contents import plain
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.decoding import (
    JsonObject,
    Malformed,
    Said,
    as_count,
    as_list,
    as_object,
    as_text,
    json_object,
    reasoned,
    reported_error,
)
from astromesh_router.dialects.lines import LineReader
from astromesh_router.dialects.openai_chat import ROLES, json_text, written_tool
from astromesh_router.dialects.port import Delta, Reply, WrittenCall

BESIDE_OPTIONS = frozenset({"format", "keep_alive", "think", "logprobs", "top_logprobs"})
"""Parameters that stand beside `options`, not in it."""


class Ollama:
    """The wire format of `POST {endpoint}/api/chat` and `GET {endpoint}/api/tags`."""

    chat_path = "/api/chat"
    models_path = "/api/tags"

    def body(self, candidate: Candidate, request: CompleteRequest, prefill: str) -> bytes:
        """The request's JSON."""
        fields: dict[str, object] = {
            "model": candidate.model,
            "messages": [written_message(message) for message in request.messages],
            "stream": True,
        }
        if request.tools:
            fields["tools"] = [written_tool(tool) for tool in request.tools]
        options = dict(as_object(candidate.parameters.get("options")))
        for name, value in candidate.parameters.items():
            if name in BESIDE_OPTIONS:
                fields[name] = value
            elif name != "options":
                options["num_predict" if name == "max_tokens" else name] = value
        if options:
            fields["options"] = options
        return orjson.dumps(fields)

    def decoder(self) -> OllamaDecoder:
        return OllamaDecoder()

    def models(self, body: JsonObject) -> list[str]:
        """The names in a list of models."""
        return [as_text(as_object(entry).get("name")) for entry in as_list(body.get("models"))]


def written_message(message: Message) -> dict[str, object]:
    written: dict[str, object] = {"role": ROLES[message.role], "content": plain(message.content)}
    if message.tool_calls:
        written["tool_calls"] = [written_call(call) for call in message.tool_calls]
    if message.role == ROLE_TOOL:
        written["tool_name"] = message.name
    return written


def written_call(call: ToolCall) -> dict[str, object]:
    """A call of an earlier turn. Arguments that were no object when the model wrote them go back as none."""
    try:
        arguments = json_object(plain(call.arguments).encode())
    except Malformed:
        arguments = {}
    return {"function": {"name": call.name, "arguments": arguments}}


class OllamaDecoder:
    """Reads one streamed chat reply."""

    def __init__(self) -> None:
        self._lines = LineReader()
        self._said = Said()
        self._calls: list[WrittenCall] = []
        self._last: JsonObject = {}
        self.done = False

    def feed(self, data: bytes) -> list[Delta]:
        return self._read(self._lines.feed(data))

    def finish(self) -> list[Delta]:
        return self._read(self._lines.finish())

    def reply(self) -> Reply:
        if not self.done:
            raise Malformed("ended the stream before the reply was complete")
        if any(not call.name for call in self._calls):
            raise Malformed("sent a tool call without a name")
        if as_text(self._last.get("done_reason")) == "length":
            reason = "length"
        else:
            reason = "tool_calls" if self._calls else "stop"
        return Reply(
            self._said.whole_text, tuple(self._calls), reason, self._usage(), reasoned(self._said.whole_thought)
        )

    def _read(self, lines: Iterable[bytes]) -> list[Delta]:
        for line in lines:
            if line.strip():
                self._line(line)
        return self._said.new()

    def _line(self, line: bytes) -> None:
        body = json_object(line)
        error = reported_error(body)
        if error:
            raise error
        message = as_object(body.get("message"))
        self._calls.extend(read_call(as_object(call)) for call in as_list(message.get("tool_calls")))
        if body.get("done") is True:
            self.done = True
            self._last = body
        self._said.thought(as_text(message.get("thinking")))
        self._said.text(as_text(message.get("content")))

    def _usage(self) -> Usage | None:
        if "eval_count" not in self._last and "prompt_eval_count" not in self._last:
            return None
        return Usage(
            input_tokens=as_count(self._last.get("prompt_eval_count")),
            output_tokens=as_count(self._last.get("eval_count")),
        )


def read_call(call: JsonObject) -> WrittenCall:
    function = as_object(call.get("function"))
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json_text(arguments)
    return WrittenCall(as_text(call.get("id")), as_text(function.get("name")), text or "{}")
