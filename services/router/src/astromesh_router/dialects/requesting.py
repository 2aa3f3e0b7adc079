"""What the requests of several dialects have in common: parameters by the vendor's names, and the asking for a schema.

Pure. The wire formats' own fields stand with each dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import ROLE_USER, Message
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import plain
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.profiles import Profile
from astromesh_router.dialects.schemas import Written, in_words, wanted_schema
from astromesh_router.failures import failed

WrittenMessage = dict[str, object]


@dataclass(frozen=True)
class SchemaAsked:
    """How a request asks for a reply that matches a schema: in these fields, and in these words of the system's."""

    fields: Written
    words: str


def asked_schema(candidate: Candidate, request: CompleteRequest, profile: Profile) -> SchemaAsked:
    """How this candidate is asked for the request's schema; not at all where it wants none.

    Words are needed where no grammar holds the reply: the vendor has none, it leaves no room for tool calls, the model
    is declared without it, or the candidate's own parameters write the same fields.
    """
    schema = wanted_schema(request)
    if schema is None:
        return SchemaAsked({}, "")
    has_room = profile.schema_beside_tools or not request.tools
    able = has_room and candidate.structured_output is not False
    fields: Written = profile.schema_form(schema) if able else {}
    kept = {name: value for name, value in fields.items() if name not in candidate.parameters}
    in_need = profile.schema_in_words or not kept
    return SchemaAsked(kept, in_words(schema) if in_need else "")


def parameters(candidate: Candidate, profile: Profile) -> dict[str, JsonValue]:
    """The candidate's parameters under the names that the vendor reads. Raises CandidateFailed for one that the model
    does not take."""
    written = dict(candidate.parameters)
    for name, only in profile.fixed.items():
        if name in written and written[name] != only:
            reason = f"takes no {name} but {only} ({profile.source})"
            raise failed(candidate, InvalidInput, reason, advice=f"remove parameters.{name}")
    if "max_tokens" in written and profile.length_field != "max_tokens":
        bound = written.pop("max_tokens")
        written.setdefault(profile.length_field, bound)
    return written


def with_words(messages: list[WrittenMessage], words: str) -> list[WrittenMessage]:
    """The messages with further words of the system's: at the end of its message, which comes first."""
    if not words:
        return messages
    if messages and messages[0]["role"] == "system":
        first = messages[0]
        return [{**first, "content": f"{first['content']}\n\n{words}"}, *messages[1:]]
    return [{"role": "system", "content": words}, *messages]


def turn_begins(messages: Sequence[Message]) -> int:
    """The place of the last message of a user. What the model thought before it is spent."""
    return max((place for place, message in enumerate(messages) if message.role == ROLE_USER), default=0)


def thoughts_of_turn(messages: Sequence[Message]) -> dict[int, str]:
    """What the model thought in this turn, by its message's place."""
    thoughts = {
        place: "".join(plain(part.text) for part in messages[place].reasoning)
        for place in range(turn_begins(messages), len(messages))
        if messages[place].reasoning
    }
    return {place: thought for place, thought in thoughts.items() if thought}
