"""Messages of a conversation with a model, as JSON."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

from astromesh.v1.values_pb2 import Message, Role
from astromesh_gateway.shown import shown


class CalledReply(TypedDict):
    """A tool call; its result is the message of the role `tool` with the same id."""

    id: str
    name: str
    arguments: str


class MessageReply(TypedDict):
    """One message. A tool's names the tool and the call that it answers."""

    role: str
    content: str
    tool_calls: NotRequired[list[CalledReply]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]


def message_reply(message: Message) -> MessageReply:
    """A message. Its contents have to be fetched before."""
    reply = MessageReply(role=Role.Name(message.role).removeprefix("ROLE_").lower(), content=shown(message.content))
    if message.tool_calls:
        reply["tool_calls"] = [
            CalledReply(id=call.id, name=call.name, arguments=shown(call.arguments)) for call in message.tool_calls
        ]
    if message.tool_call_id:
        reply["tool_call_id"], reply["name"] = message.tool_call_id, message.name
    return reply
