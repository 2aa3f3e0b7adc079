"""Messages, pictures and tools as OpenAI's chat completions write them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from astromesh.v1.values_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Image,
    Message,
    Role,
    ToolCall,
    ToolSpec,
)
from astromesh_core.events.contents import plain
from astromesh_router.dialects.profiles import Profile
from astromesh_router.dialects.requesting import WrittenMessage, thoughts_of_turn

ROLES: dict[Role.ValueType, str] = {
    ROLE_SYSTEM: "system",
    ROLE_USER: "user",
    ROLE_ASSISTANT: "assistant",
    ROLE_TOOL: "tool",
}


def written_messages(messages: Sequence[Message], profile: Profile) -> list[WrittenMessage]:
    """A transcript. What the model thought in this turn goes back where the vendor reads it."""
    written = [written_message(message, profile) for message in messages]
    if profile.reasoning_back:
        for place, thought in thoughts_of_turn(messages).items():
            written[place][profile.reasoning_back] = thought
    return written


def written_message(message: Message, profile: Profile) -> WrittenMessage:
    text = plain(message.content)
    written: WrittenMessage = {"role": ROLES[message.role], "content": text}
    if message.images:
        parts: list[object] = [{"type": "text", "text": text}] if text else []
        written["content"] = [*parts, *(written_image(image) for image in message.images)]
    if message.tool_calls:
        written["tool_calls"] = [written_call(call, profile) for call in message.tool_calls]
        written["content"] = text or profile.no_content
    if message.role == ROLE_TOOL:
        written["tool_call_id"] = profile.call_ids.written(message.tool_call_id)
    return written


def written_image(image: Image) -> dict[str, object]:
    """A picture by its address; one that came as data by a `data:` URL (RFC 2397)."""
    url = plain(image.url) or f"data:{image.media_type};base64,{plain(image.data)}"
    return {"type": "image_url", "image_url": {"url": url, "detail": image.detail} if image.detail else {"url": url}}


def written_call(call: ToolCall, profile: Profile) -> dict[str, object]:
    function = {"name": call.name, "arguments": plain(call.arguments)}
    return {"id": profile.call_ids.written(call.id), "type": "function", "function": function}


def written_tool(tool: ToolSpec) -> dict[str, object]:
    schema = orjson.Fragment(tool.parameters_json or '{"type":"object","properties":{}}')
    function = {"name": tool.name, "description": tool.description, "parameters": schema}
    return {"type": "function", "function": function}
