"""What the decoders of all dialects share: the port that streaming drives, and the reading of loose JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import orjson

from astromesh_router.dialects.port import Reply

JsonObject = Mapping[str, object]
NOTHING: JsonObject = {}


class Malformed(Exception):
    """What came is not the wire format. The message says how, without quoting it."""


class Reported(Exception):
    """The vendor reported an error in the stream or in an error body."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class Decoder(Protocol):
    """A state machine that reads one streamed reply: `feed` until `done`, then `reply`."""

    @property
    def done(self) -> bool:
        """The vendor's mark of the end was read."""
        ...

    def feed(self, data: bytes) -> str:
        """Reads bytes and returns the text they bring. Raises Malformed, Reported."""
        ...

    def finish(self) -> str:
        """Reads what was waiting for its end when the body ended. Raises as `feed`."""
        ...

    def reply(self) -> Reply:
        """The whole reply. Raises Malformed where the stream ended before it was complete."""
        ...


def json_object(data: bytes) -> JsonObject:
    """Parses an object. Raises Malformed for anything else."""
    try:
        value: object = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Malformed("sent a line that is no JSON") from error
    if not isinstance(value, dict):
        raise Malformed("sent JSON that is no object")
    return cast(JsonObject, value)


def as_object(value: object) -> JsonObject:
    """The value if it is an object, else an empty one: vendors send null for what is absent."""
    return cast(JsonObject, value) if isinstance(value, dict) else NOTHING


def as_list(value: object) -> Sequence[object]:
    """The value if it is a list, else an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else ()


def as_text(value: object) -> str:
    """The value if it is text, else an empty one."""
    return value if isinstance(value, str) else ""


def as_count(value: object) -> int:
    """The value if it is a whole number, else 0."""
    return value if isinstance(value, int) else 0


def reported_error(body: JsonObject) -> Reported | None:
    """The error that a body or a chunk carries: OpenAI's object or Ollama's text."""
    error = body.get("error")
    if not error:
        return None
    if isinstance(error, str):
        return Reported(error)
    details = as_object(error)
    return Reported(as_text(details.get("message")), as_text(details.get("code")) or as_text(details.get("type")))


def error_in(body: bytes) -> Reported:
    """What an error body says; nothing where it is not JSON of a known shape."""
    try:
        return reported_error(json_object(body)) or Reported("")
    except Malformed:
        return Reported("")
