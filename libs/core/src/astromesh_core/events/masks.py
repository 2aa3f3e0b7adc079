"""Masks of a run: tokens such as `<EMAIL_1>` that a model reads in place of personal data, and their undoing. Pure.

The tokens come from the run's events; making them is the guardrails service's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

import orjson

from astromesh.v1.values_pb2 import MaskedValue, Message, ToolCall
from astromesh_core.events.contents import plain, text_content

_TOKEN: Final = re.compile(r"<[A-Z][A-Z0-9_]*_[0-9]+>")
_BEGINNING: Final = re.compile(r"<(?:[A-Z][A-Z0-9_]*)?\Z")
LONGEST_TOKEN: Final = 64
"""Characters. A longer beginning of one is none."""


class Masks:
    """What tokens stand for. Grows as the run's events tell."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._hiding: re.Pattern[str] | None = None
        self._tokens: dict[str, str] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._values)

    @property
    def known(self) -> list[MaskedValue]:
        """All of them, in the order in which they were learnt."""
        return [MaskedValue(token=token, value=text_content(value)) for token, value in self._values.items()]

    def learn(self, masked: Iterable[MaskedValue]) -> None:
        """Takes in what an event masked, its contents fetched."""
        for each in masked:
            self._values[each.token] = plain(each.value)
            self._hiding = None

    def hidden(self, text: str) -> str:
        """The text with every known value replaced by its token, also where it stands escaped in JSON."""
        if not self._values:
            return text
        if self._hiding is None:
            self._tokens = {form: token for token, value in self._values.items() for form in _forms(value)}
            forms = sorted(self._tokens, key=len, reverse=True)
            self._hiding = re.compile("|".join(map(re.escape, forms)))
        return self._hiding.sub(lambda found: self._tokens[found[0]], text)

    def restored(self, text: str, *, in_json: bool = False) -> str:
        """The text with every known token replaced by what it stands for; `in_json`, within the texts of a JSON."""

        def value(found: re.Match[str]) -> str:
            known = self._values.get(found[0])
            if known is None:
                return found[0]
            return orjson.dumps(known).decode()[1:-1] if in_json else known

        return _TOKEN.sub(value, text) if self._values else text

    def restored_message(self, message: Message) -> Message:
        """The message as its user said it, or is to read it."""
        if not self._values:
            return message
        restored = Message()
        restored.CopyFrom(message)
        restored.content.CopyFrom(text_content(self.restored(plain(message.content))))
        for call in restored.tool_calls:
            call.CopyFrom(self.restored_call(call))
        return restored

    def restored_call(self, call: ToolCall) -> ToolCall:
        """The call with what the tokens in its arguments stand for."""
        written = plain(call.arguments)
        arguments = self.restored(written, in_json=True)
        if arguments == written:
            return call
        return ToolCall(id=call.id, name=call.name, arguments=text_content(arguments))


class Restoring:
    """Undoes masks in a text that comes in pieces: a token is held back until all of it is there."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._held = ""

    def put(self, piece: str) -> str:
        """What can be told now."""
        text = self._held + piece
        beginning = _BEGINNING.search(text)
        cut = len(text) if beginning is None or len(text) - beginning.start() > LONGEST_TOKEN else beginning.start()
        self._held = text[cut:]
        return self._masks.restored(text[:cut])

    def end(self) -> str:
        """The rest."""
        left, self._held = self._held, ""
        return self._masks.restored(left)


def _forms(value: str) -> set[str]:
    return {value, orjson.dumps(value).decode()[1:-1], json.dumps(value)[1:-1]} if value else set()
