"""OpenAI chat completions, as OpenAI and every compatible server speak them: the request, and the stream's decoder.

Rules of the stream: chunks with `choices[0].delta`; a tool call comes in fragments keyed by `index`, its id and name in
the first alone; `finish_reason` completes the reply; the usage comes in a chunk of its own whose choices are empty or
null; `[DONE]` ends. Some servers leave out `[DONE]`, the usage, ids, or indices. Reasoning is no part of the answer.
Source: OpenAI API reference, "Chat Completions" and "Streaming events".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Usage
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
    json_text,
    reported_error,
    told_usage,
)
from astromesh_router.dialects.lines import EventReader
from astromesh_router.dialects.openai_messages import written_messages, written_tool
from astromesh_router.dialects.port import Delta, Reply, WrittenCall
from astromesh_router.dialects.profiles import OPENAI, Profile, profile_of
from astromesh_router.dialects.requesting import asked_schema, parameters, with_words

DEEPSEEK_CACHED = "prompt_cache_hit_tokens"
"""Source: DeepSeek API reference, "Create Chat Completion", usage."""

FINISH_REASONS = {"length": "length", "content_filter": "content_filter"}


class OpenAIChat:
    """The wire format of `POST {endpoint}/chat/completions` and `GET {endpoint}/models`."""

    def body(self, candidate: Candidate, request: CompleteRequest, prefill: str) -> bytes:
        """The request's JSON. A parameter that is null takes the field out, for servers that refuse it."""
        profile = profile_of(candidate)
        schema = asked_schema(candidate, request, profile)
        messages = written_messages(request.messages, profile)
        if prefill:
            messages.append({"role": "assistant", "content": prefill})
        fields: dict[str, object] = {
            "model": candidate.model,
            "messages": with_words(messages, schema.words),
            "stream": True,
            "stream_options": {"include_usage": True},
            **schema.fields,
        }
        if prefill:
            fields.update(profile.continuation or {})
        if request.tools:
            fields["tools"] = [written_tool(tool) for tool in request.tools]
        fields.update(parameters(candidate, profile))
        return orjson.dumps({name: value for name, value in fields.items() if value is not None})

    def decoder(self, profile: Profile) -> OpenAIChatDecoder:
        return OpenAIChatDecoder(profile)

    def models(self, body: JsonObject) -> list[str]:
        """The names in a list of models."""
        return [as_text(as_object(entry).get("id")) for entry in as_list(body.get("data"))]


@dataclass
class Fragments:
    """A tool call in the making."""

    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list[str])
    """Of its arguments."""


class OpenAIChatDecoder:
    """Reads one streamed chat completion."""

    def __init__(self, profile: Profile = OPENAI) -> None:
        self._reasoning_fields = profile.reasoning_fields
        self._always_finishes = profile.always_finishes
        self._events = EventReader()
        self._said = Said(think_tags=profile.think_tags)
        self._calls: dict[int, Fragments] = {}
        self._finish = ""
        self._usage: Usage | None = None
        self.done = False

    @property
    def finished(self) -> bool:
        return bool(self._finish)

    @property
    def begun(self) -> bool:
        return self._said.begun or bool(self._calls)

    def feed(self, data: bytes) -> list[Delta]:
        return self._read(self._events.feed(data))

    def finish(self) -> list[Delta]:
        return self._read(self._events.finish(), ended=True)

    def reply(self) -> Reply:
        if not self._finish and (self._always_finishes or not self.done):
            raise Malformed("ended the stream before the reply was complete")
        if not (self._finish or self._said.whole_text or self._calls):
            raise Malformed("sent no reply in its stream")
        calls = tuple(
            WrittenCall(call.id, call.name, "".join(call.pieces) or "{}") for _, call in sorted(self._calls.items())
        )
        if any(not call.name for call in calls):
            raise Malformed("sent a tool call without a name")
        reason = FINISH_REASONS.get(self._finish) or ("tool_calls" if calls else "stop")
        return Reply(self._said.whole_text, calls, reason, self._usage, self._said.reasoning)

    def _read(self, events: Iterable[bytes], *, ended: bool = False) -> list[Delta]:
        for data in events:
            if not self.done:
                self._chunk(data)
        if ended or self.done:
            self._said.end()
        return self._said.new()

    def _chunk(self, data: bytes) -> None:
        if data.strip() == b"[DONE]":
            self.done = True
            return
        body = json_object(data)
        error = reported_error(body)
        if error:
            raise error
        if usage := as_object(body.get("usage")):
            self._usage = told_usage(read_usage(usage)) or self._usage
        for choice in as_list(body.get("choices"))[:1]:
            self._choice(as_object(choice))

    def _choice(self, choice: JsonObject) -> None:
        delta = as_object(choice.get("delta"))
        for position, fragment in enumerate(as_list(delta.get("tool_calls"))):
            self._fragment(as_object(fragment), position)
        self._finish = as_text(choice.get("finish_reason")) or self._finish
        # Most deltas hold text and nothing else, and there are thousands of them.
        for name in self._reasoning_fields:
            if name in delta and (thought := as_text(delta[name])):
                self._said.thought(thought)
                break
        content = delta.get("content")
        if isinstance(content, str):
            self._said.text(content)
        elif content:
            self._parts(as_list(content))
        if "refusal" in delta:
            self._said.text(as_text(delta["refusal"]))

    def _parts(self, parts: Sequence[object]) -> None:
        """Content as Mistral writes it: parts, of which some are thinking."""
        for part in map(as_object, parts):
            self._said.text(as_text(part.get("text")))
            for thought in map(as_object, as_list(part.get("thinking"))):
                self._said.thought(as_text(thought.get("text")))

    def _fragment(self, fragment: JsonObject, position: int) -> None:
        index = fragment.get("index")
        call = self._calls.setdefault(
            index if isinstance(index, int) else self._unnumbered(fragment, position), Fragments()
        )
        function = as_object(fragment.get("function"))
        call.id = call.id or as_text(fragment.get("id"))
        call.name = call.name or as_text(function.get("name"))
        arguments = function.get("arguments")
        # Some servers send the arguments as an object, whole.
        call.pieces.append(arguments if isinstance(arguments, str) else json_text(arguments))

    def _unnumbered(self, fragment: JsonObject, position: int) -> int:
        """The place of a fragment without index: a new call where it brings a name, else the last one's."""
        begins = bool(as_object(fragment.get("function")).get("name"))
        return len(self._calls) if begins else max(len(self._calls) - 1, position)


def read_usage(usage: JsonObject) -> Usage:
    prompt_details = as_object(usage.get("prompt_tokens_details"))
    details = as_object(usage.get("completion_tokens_details"))
    return Usage(
        input_tokens=as_count(usage.get("prompt_tokens")),
        output_tokens=as_count(usage.get("completion_tokens")),
        cached_input_tokens=as_count(prompt_details.get("cached_tokens")) or as_count(usage.get(DEEPSEEK_CACHED)),
        reasoning_tokens=as_count(details.get("reasoning_tokens")),
    )
