"""Anthropic's Messages API: the request, and the decoder of its stream.

Rules of the stream: `message_start` with the prompt's usage; each block of the reply by `content_block_start`, deltas
and `content_block_stop`, keyed by `index`; `message_delta` with the reason of the end and the usage so far;
`message_stop`. `ping` and kinds unknown here are passed over; `error` may come instead of anything.
Source: Claude API reference, "Messages" and "Streaming Messages".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Usage
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.anthropic_messages import system_text, written_messages, written_tool
from astromesh_router.dialects.anthropic_parameters import schema_for, written_parameters
from astromesh_router.dialects.decoding import (
    JsonObject,
    Malformed,
    as_count,
    as_list,
    as_object,
    as_text,
    joined,
    json_object,
    json_text,
    reported_error,
    told_usage,
)
from astromesh_router.dialects.lines import EventReader
from astromesh_router.dialects.port import Delta, Reasoning, Reply, Thought, WrittenCall
from astromesh_router.dialects.profiles import Profile, profile_of

DATED = re.compile(r"(.+)-20\d{6}")
"""A model's version. The API takes the name without the date for it, and does not list that."""

FINISH_REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}


class Anthropic:
    """The wire format of `POST {endpoint}/v1/messages` and `GET {endpoint}/v1/models`."""

    def body(self, candidate: Candidate, request: CompleteRequest, prefill: str) -> bytes:
        """The request's JSON."""
        profile = profile_of(candidate)
        schema = schema_for(candidate, request, profile)
        messages = written_messages(request.messages)
        if prefill:
            messages.append({"role": "assistant", "content": prefill})
        fields: dict[str, object] = {"model": candidate.model, "messages": messages, "stream": True}
        system = "\n\n".join(filter(None, (system_text(request.messages), schema.words)))
        if system:
            fields["system"] = system
        if request.tools:
            fields["tools"] = [written_tool(tool) for tool in request.tools]
        fields.update(written_parameters(candidate, request, profile, schema))
        return orjson.dumps({name: value for name, value in fields.items() if value is not None})

    def decoder(self, profile: Profile) -> AnthropicDecoder:
        del profile
        return AnthropicDecoder()

    def models(self, body: JsonObject) -> list[str]:
        """The names in a list of models, and those that stand for them."""
        listed = [as_text(as_object(entry).get("id")) for entry in as_list(body.get("data"))]
        undated = [found[1] for name in listed if (found := DATED.fullmatch(name))]
        return [*listed, *(f"{name}{end}" for name in undated for end in ("", "-0", "-latest"))]


@dataclass
class Block:
    """A part of the reply in the making: text, thinking, or a tool call."""

    kind: str
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list[str])
    """Of its text; of a tool call: of its arguments."""
    signature: str = ""

    @property
    def text(self) -> str:
        """All of its text by now."""
        return "".join(self.pieces)


class AnthropicDecoder:
    """Reads one streamed message."""

    def __init__(self) -> None:
        self._events = EventReader()
        self._blocks: dict[int, Block] = {}
        self._new: list[Delta] = []
        self._stop = ""
        self._counts: dict[str, int] = {}
        self.done = False

    @property
    def finished(self) -> bool:
        return bool(self._stop)

    @property
    def begun(self) -> bool:
        return bool(self._blocks)

    def feed(self, data: bytes) -> list[Delta]:
        return self._read(self._events.feed(data))

    def finish(self) -> list[Delta]:
        return self._read(self._events.finish())

    def reply(self) -> Reply:
        if not self._stop:
            raise Malformed("ended the stream before the reply was complete")
        blocks = [block for _, block in sorted(self._blocks.items())]
        calls = tuple(WrittenCall(each.id, each.name, each.text or "{}") for each in blocks if each.kind == "tool_use")
        if any(not call.name for call in calls):
            raise Malformed("sent a tool call without a name")
        text = "".join(block.text for block in blocks if block.kind == "text")
        reason = FINISH_REASONS.get(self._stop) or ("tool_calls" if calls else "stop")
        return Reply(text, calls, reason, self._usage(), tuple(_thoughts(blocks)))

    def _read(self, events: Iterable[bytes]) -> list[Delta]:
        for data in events:
            if not self.done:
                self._event(json_object(data))
        new, self._new = self._new, []
        return joined(new)

    def _event(self, event: JsonObject) -> None:
        match as_text(event.get("type")):
            case "message_start":
                self._count(as_object(as_object(event.get("message")).get("usage")))
            case "content_block_start":
                self._begin(event)
            case "content_block_delta":
                self._delta(event)
            case "message_delta":
                self._stop = as_text(as_object(event.get("delta")).get("stop_reason")) or self._stop
                self._count(as_object(event.get("usage")))
            case "message_stop":
                self.done = True
            case "error":
                raise reported_error(event) or Malformed("reported an error without saying which")
            case _:
                pass

    def _begin(self, event: JsonObject) -> None:
        begun = as_object(event.get("content_block"))
        block = Block(as_text(begun.get("type")), as_text(begun.get("id")), as_text(begun.get("name")))
        self._blocks[as_count(event.get("index"))] = block
        match block.kind:
            case "text":
                self._say(block, as_text(begun.get("text")))
            case "thinking":
                self._think(block, as_text(begun.get("thinking")))
                block.signature = as_text(begun.get("signature"))
            case "redacted_thinking":
                block.signature = as_text(begun.get("data"))
            case "tool_use":
                # Empty where the arguments follow in deltas, as they do; some servers send them whole.
                block.pieces.append(json_text(begun.get("input") or None))
            case _:
                pass

    def _delta(self, event: JsonObject) -> None:
        block = self._blocks.get(as_count(event.get("index")))
        if block is None:
            raise Malformed("sent a delta of a block that it never began")
        delta = as_object(event.get("delta"))
        match as_text(delta.get("type")):
            case "text_delta":
                self._say(block, as_text(delta.get("text")))
            case "thinking_delta":
                self._think(block, as_text(delta.get("thinking")))
            case "signature_delta":
                block.signature += as_text(delta.get("signature"))
            case "input_json_delta":
                block.pieces.append(as_text(delta.get("partial_json")))
            case _:
                pass

    def _say(self, block: Block, text: str) -> None:
        if text:
            block.pieces.append(text)
            self._new.append(text)

    def _think(self, block: Block, text: str) -> None:
        if text:
            block.pieces.append(text)
            self._new.append(Thought(text))

    def _count(self, usage: JsonObject) -> None:
        self._counts.update({name: as_count(value) for name, value in usage.items() if isinstance(value, int)})

    def _usage(self) -> Usage | None:
        """None where nothing was reported. The API counts cached and fresh input apart; here the input is all of it."""
        read = self._counts.get("cache_read_input_tokens", 0)
        written = self._counts.get("cache_creation_input_tokens", 0)
        counted = Usage(
            input_tokens=self._counts.get("input_tokens", 0) + read + written,
            output_tokens=self._counts.get("output_tokens", 0),
            cached_input_tokens=read,
            cache_written_tokens=written,
        )
        return told_usage(counted)


def _thoughts(blocks: Iterable[Block]) -> Iterable[Reasoning]:
    for block in blocks:
        if block.kind == "thinking":
            yield Reasoning(block.text, block.signature)
        elif block.kind == "redacted_thinking":
            yield Reasoning("", block.signature, redacted=True)
