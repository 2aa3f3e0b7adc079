"""What the decoders of all dialects share: the port that streaming drives, and the reading of loose JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Protocol, cast

import orjson

from astromesh.v1.values_pb2 import Usage
from astromesh_router.dialects.port import Delta, Reasoning, Reply, Thought
from astromesh_router.dialects.think_tags import ThinkTags

JsonObject = Mapping[str, object]
NOTHING: JsonObject = {}
MOST_TOKENS = 1 << 53


class Malformed(Exception):
    """What came is not the wire format. The message says how, without quoting it."""


class Reported(Exception):
    """The vendor reported an error in the stream or in an error body."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code

    def __bool__(self) -> bool:
        return bool(str(self) or self.code)


class Decoder(Protocol):
    """A state machine that reads one streamed reply: `feed` until `done`, then `reply`."""

    @property
    def done(self) -> bool:
        """The vendor's mark of the end was read."""
        ...

    @property
    def finished(self) -> bool:
        """Why the model stopped was read: of the reply nothing is missing, though its usage may follow."""
        ...

    @property
    def begun(self) -> bool:
        """Anything of the reply itself has come: a word, a thought, a piece of a tool call. Heartbeats are nothing."""
        ...

    def feed(self, data: bytes) -> list[Delta]:
        """Reads bytes and returns what they bring, neighbours of a kind joined. Raises Malformed, Reported."""
        ...

    def finish(self) -> list[Delta]:
        """Reads what was waiting for its end when the body ended. Raises as `feed`."""
        ...

    def reply(self) -> Reply:
        """The whole reply. Raises Malformed where the stream ended before it was complete."""
        ...


class Said:
    """Gathers what a model says and thinks: all of it for the reply, and what is new for the stream."""

    def __init__(self, *, think_tags: bool = False) -> None:
        """`think_tags`: what stands in a leading `<think>` block of the text is thought."""
        self._tags = ThinkTags() if think_tags else None
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._new: list[Delta] = []

    def text(self, text: str) -> None:
        """The next piece of the answer; may be empty."""
        if self._tags is not None:
            thought, text = self._tags.feed(text)
            self.thought(thought)
        self._text(text)

    def thought(self, text: str) -> None:
        """The next piece of the thinking; may be empty."""
        if text:
            self._thoughts.append(text)
            self._new.append(Thought(text))

    def end(self) -> None:
        """Nothing more comes: what might have been the beginning of a tag is text."""
        if self._tags is not None:
            thought, text = self._tags.finish()
            self.thought(thought)
            self._text(text)

    def new(self) -> list[Delta]:
        """What came since this was asked last, neighbours of a kind joined."""
        new, self._new = self._new, []
        return new if len(new) < 2 else joined(new)

    @property
    def begun(self) -> bool:
        """Whether there was any."""
        return bool(self._texts or self._thoughts)

    @property
    def whole_text(self) -> str:
        """The answer so far."""
        return "".join(self._texts)

    @property
    def reasoning(self) -> tuple[Reasoning, ...]:
        """The thinking so far, as one block that its vendor does not sign."""
        thought = "".join(self._thoughts)
        return (Reasoning(thought),) if thought else ()

    def _text(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self._new.append(text)


def joined(deltas: list[Delta]) -> list[Delta]:
    """The same with as few pieces as possible."""
    runs = groupby(deltas, type)
    return [
        Thought("".join(each.text for each in run if isinstance(each, Thought)))
        if kind is Thought
        else "".join(each for each in run if isinstance(each, str))
        for kind, run in runs
    ]


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
    """The value if it is a whole number that can be one of tokens, else 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value < MOST_TOKENS else 0


def told_usage(usage: Usage) -> Usage | None:
    """The usage, if it says anything: some servers send the fields with nothing in them."""
    return usage if usage.input_tokens or usage.output_tokens else None


def first_text(value: JsonObject, names: Sequence[str]) -> str:
    """The first of these fields that holds text."""
    return next((text for name in names if (text := as_text(value.get(name)))), "")


def json_text(arguments: object) -> str:
    """An object's JSON; empty for anything else."""
    return orjson.dumps(arguments).decode() if isinstance(arguments, dict) else ""


def reported_error(body: JsonObject) -> Reported | None:
    """The error that a body or a chunk carries: OpenAI's object (its code may be an HTTP status), or Ollama's text."""
    error = body.get("error")
    if not error:
        return None
    if isinstance(error, str):
        return Reported(error)
    details = as_object(error)
    status = as_count(details.get("code"))
    code = str(status) if status else as_text(details.get("code")) or as_text(details.get("type"))
    return Reported(as_text(details.get("message")), code)


def error_in(body: bytes) -> Reported:
    """What an error body says; nothing where it is not JSON of a known shape."""
    try:
        return reported_error(json_object(body)) or Reported("")
    except Malformed:
        return Reported("")
