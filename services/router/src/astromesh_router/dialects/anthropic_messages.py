"""Transcripts and tools as Anthropic's Messages API takes them. Pure.

Rules: the system's words stand beside the messages; roles take turns, so neighbours of a role are one message; a tool's
results come first in the user's next one; no text is blank; ids of calls are of letters, digits, _ and -; thinking goes
back with its signature, and only within the turn.
Source: Claude API reference, "Messages", and "Extended thinking".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import orjson

from astromesh.v1.values_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    Image,
    Message,
    Reasoning,
    ToolCall,
    ToolSpec,
)
from astromesh_core.events.contents import plain
from astromesh_router.dialects.call_ids import ANTHROPIC_IDS
from astromesh_router.dialects.decoding import JsonObject, Malformed, json_object
from astromesh_router.dialects.requesting import WrittenMessage, turn_begins

Block = dict[str, object]


def system_text(messages: Iterable[Message]) -> str:
    """What the system says, wherever in the transcript it says it."""
    texts = (plain(message.content) for message in messages if message.role == ROLE_SYSTEM)
    return "\n\n".join(text for text in texts if text.strip())


def written_messages(messages: Sequence[Message]) -> list[WrittenMessage]:
    """The turns of user and assistant."""
    turn = turn_begins(messages)
    written: list[tuple[str, list[Block]]] = []
    for place, message in enumerate(messages):
        if message.role == ROLE_SYSTEM:
            continue
        role = "assistant" if message.role == ROLE_ASSISTANT else "user"
        blocks = list(_blocks(message, thinks=place >= turn))
        if written and written[-1][0] == role:
            written[-1][1].extend(blocks)
        elif blocks:
            written.append((role, blocks))
    return [{"role": role, "content": blocks} for role, blocks in written]


def may_think(messages: Sequence[Message]) -> bool:
    """Whether the API lets a model think with a budget from here on: not where this turn was begun without a thought
    of its own, as it was when another vendor's model made the first calls."""
    turn = messages[turn_begins(messages) :]
    begun = next((message for message in turn if message.role == ROLE_ASSISTANT), None)
    return begun is None or any(part.signature for part in begun.reasoning)


def written_tool(tool: ToolSpec) -> Block:
    schema = orjson.Fragment(tool.parameters_json or '{"type":"object","properties":{}}')
    return {"name": tool.name, "description": tool.description, "input_schema": schema}


def _blocks(message: Message, *, thinks: bool) -> Iterator[Block]:
    if message.role == ROLE_TOOL:
        yield _result(message)
        return
    if thinks:
        yield from (_thinking(part) for part in message.reasoning if part.signature)
    yield from _said(message)
    yield from (_call(call) for call in message.tool_calls)


def _said(message: Message) -> Iterator[Block]:
    """Pictures, and then the text."""
    yield from (_image(image) for image in message.images)
    text = plain(message.content)
    if text.strip():
        yield {"type": "text", "text": text}


def _result(message: Message) -> Block:
    """A tool's result; one that says nothing has no content."""
    result: Block = {"type": "tool_result", "tool_use_id": ANTHROPIC_IDS.written(message.tool_call_id)}
    content = list(_said(message))
    if content:
        result["content"] = content if message.images else plain(message.content)
    return result


def _thinking(part: Reasoning) -> Block:
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.signature}
    return {"type": "thinking", "thinking": plain(part.text), "signature": part.signature}


def _image(image: Image) -> Block:
    if image.HasField("url"):
        return {"type": "image", "source": {"type": "url", "url": plain(image.url)}}
    source = {"type": "base64", "media_type": image.media_type, "data": plain(image.data)}
    return {"type": "image", "source": source}


def _call(call: ToolCall) -> Block:
    return {
        "type": "tool_use",
        "id": ANTHROPIC_IDS.written(call.id),
        "name": call.name,
        "input": _input(plain(call.arguments)),
    }


def _input(arguments: str) -> JsonObject:
    """The arguments, which have to be an object; what a model once wrote otherwise goes back as text."""
    try:
        return json_object(arguments.encode())
    except Malformed:
        return {"text": arguments}
