"""What a run leaves in its session: the question, its tool calls with their results where they are remembered, and the
answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_TOOL, ROLE_USER, Message
from astromesh_core.events.contents import plain, text_content

LONGEST_RESULT: Final = 2_000
"""Characters of a tool's result that are remembered. The whole of it stands in the run's log."""

_CUT: Final = " … (cut)"


def turn_of(query: str, told: Sequence[Message], answer: str) -> tuple[Message, ...]:
    """The turn; `told` is what joined the transcript between question and answer."""
    question = Message(role=ROLE_USER, content=text_content(query))
    return (question, *_calls(told), Message(role=ROLE_ASSISTANT, content=text_content(answer)))


def without_calls(history: Iterable[Message]) -> list[Message]:
    """The history without tool calls and their results."""
    said = (message for message in history if message.role != ROLE_TOOL)
    return [
        Message(role=message.role, content=message.content, images=message.images) if message.tool_calls else message
        for message in said
        if not message.tool_calls or plain(message.content)
    ]


def _calls(told: Sequence[Message]) -> Iterator[Message]:
    """Calls and results, never the one without the other; thoughts belong to the run alone."""
    answered = {message.tool_call_id for message in told if message.role == ROLE_TOOL}
    asked = set[str]()
    for message in told:
        if message.role == ROLE_ASSISTANT and message.tool_calls:
            calls = [call for call in message.tool_calls if call.id in answered]
            asked.update(call.id for call in calls)
            if calls:
                yield Message(role=ROLE_ASSISTANT, content=message.content, tool_calls=calls)
        elif message.role == ROLE_TOOL and message.tool_call_id in asked:
            text = plain(message.content)
            content = text_content(text[:LONGEST_RESULT] + _CUT) if len(text) > LONGEST_RESULT else message.content
            yield Message(role=ROLE_TOOL, content=content, tool_call_id=message.tool_call_id, name=message.name)
