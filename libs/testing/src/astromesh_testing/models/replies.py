"""What a fake model server can be told to answer, faults included. The wire formats stand with each vendor."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """A tool call of the model. `arguments` is JSON text, or what a confused model writes; no id is sent if empty."""

    name: str
    arguments: str = "{}"
    id: str = ""


@dataclass(frozen=True)
class Tokens:
    """What the vendor reports as used."""

    input: int = 7
    output: int = 5
    cached: int = 0
    reasoning: int = 0


class Ending(enum.Enum):
    """How a streamed reply ends."""

    COMPLETE = "complete"
    BREAK_OFF = "the connection breaks"
    HANG = "nothing more comes, and the connection stays"
    HANG_AT_THE_END = "all comes but the vendor's mark of the end, and the connection stays"
    STOP_SHORT = "the body ends properly, without the vendor's mark of the end"
    ERROR = "an error object comes instead of the rest"
    RUBBISH = "something that is not the wire format comes instead of the rest"


@dataclass(frozen=True)
class Reply:
    """An answer, streamed in deltas of one word where the request asks for a stream."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    tokens: Tokens | None = Tokens()
    finish: str = ""
    """The finish reason; by default the one that the vendor gives for such a reply."""
    thinking: str = ""
    pause_first: float = 0.0
    """Seconds before the first delta, the headers being sent."""
    pause: float = 0.0
    """Seconds before each further delta, and before an ending that is not COMPLETE."""
    ending: Ending = Ending.COMPLETE
    after: int = 1_000_000
    """How many deltas are sent before an ending that is not COMPLETE."""
    error: str = ""
    """Anthropic's word for the error of an ending ERROR; by default that it is overloaded."""

    def words(self) -> list[str]:
        """The text in deltas of one word, the space before it included."""
        return re.findall(r"\s*\S+\s*$|\s*\S+", self.text) or ([self.text] if self.text else [])


@dataclass(frozen=True)
class Refusal:
    """An error status, with the vendor's error body unless `body` gives another."""

    status: int
    message: str = "refused by the script"
    kind: str = "server_error"
    retry_after: str = ""
    location: str = ""
    body: bytes | None = None


@dataclass(frozen=True)
class Rubbish:
    """Status 200 with a body that is not the wire format."""

    body: bytes = b"<html>It works!</html>"
    content_type: str = "text/html"


@dataclass(frozen=True)
class Hang:
    """The request is read and never answered."""


@dataclass(frozen=True)
class Drop:
    """The request is read and the connection closed."""


Scripted = Reply | Refusal | Rubbish | Hang | Drop
