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
from astromesh.v1.values_pb2 import ROLE_TOOL, Image, Message, ToolCall, Usage
from astromesh_core.errors import InvalidInput
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
    first_text,
    json_object,
    json_text,
    reported_error,
    told_usage,
)
from astromesh_router.dialects.lines import LineReader
from astromesh_router.dialects.openai_messages import ROLES, written_tool
from astromesh_router.dialects.port import Delta, Reply, WrittenCall
from astromesh_router.dialects.profiles import Profile, profile_of
from astromesh_router.dialects.requesting import WrittenMessage, asked_schema, parameters, thoughts_of_turn, with_words
from astromesh_router.failures import failed

BESIDE_OPTIONS = frozenset({"format", "keep_alive", "think", "logprobs", "top_logprobs"})
"""Parameters that stand beside `options`, not in it."""


class Ollama:
    """The wire format of `POST {endpoint}/api/chat` and `GET {endpoint}/api/tags`."""

    def body(self, candidate: Candidate, request: CompleteRequest, prefill: str) -> bytes:
        """The request's JSON."""
        profile = profile_of(candidate)
        schema = asked_schema(candidate, request, profile)
        messages = [written_message(candidate, message) for message in request.messages]
        for place, thought in thoughts_of_turn(request.messages).items():
            messages[place][profile.reasoning_back] = thought
        if prefill:
            messages.append({"role": "assistant", "content": prefill})
        fields: dict[str, object] = {
            "model": candidate.model,
            "messages": with_words(messages, schema.words),
            "stream": True,
            **schema.fields,
        }
        if request.tools:
            fields["tools"] = [written_tool(tool) for tool in request.tools]
        options = dict(as_object(candidate.parameters.get("options")))
        for name, value in parameters(candidate, profile).items():
            if name in BESIDE_OPTIONS:
                fields[name] = value
            elif name != "options":
                options[name] = value
        if options:
            fields["options"] = options
        return orjson.dumps({name: value for name, value in fields.items() if value is not None})

    def decoder(self, profile: Profile) -> OllamaDecoder:
        return OllamaDecoder(profile)

    def models(self, body: JsonObject) -> list[str]:
        """The names in a list of models."""
        return [as_text(as_object(entry).get("name")) for entry in as_list(body.get("models"))]


def written_message(candidate: Candidate, message: Message) -> WrittenMessage:
    written: WrittenMessage = {"role": ROLES[message.role], "content": plain(message.content)}
    if message.images:
        written["images"] = [written_image(candidate, image) for image in message.images]
    if message.tool_calls:
        written["tool_calls"] = [written_call(call) for call in message.tool_calls]
    if message.role == ROLE_TOOL:
        written["tool_name"] = message.name
    return written


def written_image(candidate: Candidate, image: Image) -> str:
    """A picture's data. Raises CandidateFailed for an address: Ollama fetches nothing."""
    if image.HasField("url"):
        reason = "takes pictures as data, not by their address"
        raise failed(candidate, InvalidInput, reason, advice="send the picture itself, in base64")
    return plain(image.data)


def written_call(call: ToolCall) -> dict[str, object]:
    """A call of an earlier turn. Arguments that were no object when the model wrote them go back as none."""
    try:
        arguments = json_object(plain(call.arguments).encode())
    except Malformed:
        arguments = {}
    return {"function": {"name": call.name, "arguments": arguments}}


class OllamaDecoder:
    """Reads one streamed chat reply."""

    def __init__(self, profile: Profile) -> None:
        self._reasoning_fields = profile.reasoning_fields
        self._lines = LineReader()
        self._said = Said(think_tags=profile.think_tags)
        self._calls: list[WrittenCall] = []
        self._last: JsonObject = {}
        self.done = False

    @property
    def finished(self) -> bool:
        return self.done

    @property
    def begun(self) -> bool:
        return self._said.begun or bool(self._calls)

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
        return Reply(self._said.whole_text, tuple(self._calls), reason, self._usage(), self._said.reasoning)

    def _read(self, lines: Iterable[bytes]) -> list[Delta]:
        for line in lines:
            if line.strip() and not self.done:
                self._line(line)
        if self.done:
            self._said.end()
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
        self._said.thought(first_text(message, self._reasoning_fields))
        self._said.text(as_text(message.get("content")))

    def _usage(self) -> Usage | None:
        read, written = self._last.get("prompt_eval_count"), self._last.get("eval_count")
        return told_usage(Usage(input_tokens=as_count(read), output_tokens=as_count(written)))


def read_call(call: JsonObject) -> WrittenCall:
    function = as_object(call.get("function"))
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json_text(arguments)
    return WrittenCall(as_text(call.get("id")), as_text(function.get("name")), text or "{}")
