"""The text of a run as a caller sees it grow: pieces in order, each once. Pure: no bus, no HTTP.

Deltas come at most once and at their own pace; the log has what they lacked. A piece is told once its attempt's `begun`
is stored. A higher attempt replaces what came before it (`Restart`). A gap ends an attempt's pieces until `model
replied` fills it. Of an agent whose output rules must see the whole answer nothing is told before the check, and of an
answer that has to match a schema no text. Of one whose rules let the answer go while it is written, what they let go is
told, and the checked answer makes up for what is missing. Thoughts are told as they come: nothing makes up for a lost
one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from astromesh.v1.run_events_pb2 import RunEvent
from astromesh.v1.signal_pb2 import Delta
from astromesh_core.events.contents import plain
from astromesh_core.events.masks import Masks
from astromesh_core.events.runs import FRAME_PATH

_MASKING = frozenset({"input_checked", "context_assembled", "tool_result_checked"})
"""Events that tell what was masked."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text that follows the pieces before it."""

    text: str
    path: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of what the model thinks: no part of the answer."""

    text: str
    path: str


@dataclass(frozen=True, slots=True)
class Restart:
    """Forget the text since the last step: a new attempt begins. `reason` says why, where it is known."""

    path: str
    reason: str = ""


@dataclass(slots=True)
class _Attempt:
    """The text of one model call."""

    begun: int = 0
    pieces: list[str] = field(default_factory=list[str])
    length: int = 0
    """Of its pieces together, of which there may be thousands: they are joined once, at the end."""
    broken: bool = False
    early: list[Delta] = field(default_factory=list[Delta])


class Tokens:
    """The growing text of one run."""

    def __init__(self) -> None:
        self._open: dict[str, _Attempt] = {}
        self._closed: set[str] = set()
        self._unheard = {FRAME_PATH}
        """Of calls whose replies are no part of what the caller is told."""
        self._checked = self._holds_text = self._screened = False
        self._masks = Masks()
        self._last = ""
        self._told: list[str] = []
        """Of the model call told last: what the caller has seen of the answer."""

    def delta(self, delta: Delta) -> Iterator[Token | Thought | Restart]:
        """Takes a piece as it arrives."""
        if delta.path in self._closed or self._checked or (self._holds_text and not delta.thought):
            return
        attempt = self._open.setdefault(delta.path, _Attempt())
        if delta.attempt > attempt.begun:
            attempt.early.append(delta)
            return
        yield from self._tell(delta, attempt)

    def event(self, event: RunEvent) -> Iterator[Token | Restart]:
        """Takes the next stored event. What it yields is to be told before the event itself."""
        kind = event.WhichOneof("event")
        if kind == "started":
            self._screened = event.started.streams_checked
            self._checked = event.started.checks_output and not self._screened
            self._holds_text = self._checked or bool(event.started.output_schema_json)
        elif kind == "model_call_begun" and event.model_call_begun.unheard:
            self._unheard.add(event.model_call_begun.path)
        elif kind == "model_call_begun" and event.model_call_begun.path not in self._unheard:
            yield from self._begin(event.model_call_begun.path, event.model_call_begun.reason)
        elif kind == "model_replied" and event.model_replied.path not in self._unheard:
            reply = event.model_replied
            yield from self._reply(reply.path, plain(reply.message.content) if reply.HasField("message") else None)
        elif kind in _MASKING:
            self._masks.learn(getattr(event, kind).masked)
        elif kind == "completed" and (answer := plain(event.completed.answer)) != "".join(self._told):
            yield from self._completed(answer)

    def early(self, path: str) -> Iterator[Token | Thought | Restart]:
        """The pieces that came before their `begun`: to be told after it."""
        attempt = self._open.get(path)
        if attempt is None:
            return
        early, attempt.early = attempt.early, []
        for delta in early:
            yield from self.delta(delta)

    def _begin(self, path: str, reason: str) -> Iterator[Restart]:
        attempt = self._open.setdefault(path, _Attempt())
        attempt.begun += 1
        if attempt.length:
            yield Restart(path, reason)
        attempt.pieces, attempt.length, attempt.broken = [], 0, False
        self._told = []

    def _completed(self, answer: str) -> Iterator[Token | Restart]:
        told, self._told = "".join(self._told), [answer]
        if self._screened and told and not answer.startswith(told):
            yield Restart(self._last)
        yield Token(answer[len(told) :] if self._screened and answer.startswith(told) else answer, "")

    def _tell(self, delta: Delta, attempt: _Attempt) -> Iterator[Token | Thought]:
        if delta.attempt < attempt.begun:
            return
        if delta.thought:
            yield Thought(delta.thought, delta.path)
            return
        if attempt.broken:
            return
        known = attempt.length
        if delta.offset > known:
            attempt.broken = True
            return
        fresh = delta.text[known - delta.offset :]
        if fresh:
            attempt.pieces.append(fresh)
            attempt.length += len(fresh)
            self._told = attempt.pieces
            yield Token(fresh, delta.path)

    def _reply(self, path: str, text: str | None) -> Iterator[Token | Restart]:
        attempt = self._open.pop(path, _Attempt())
        self._closed.add(path)
        self._last = path
        if text is None or self._holds_text or self._screened:
            # What the model said is not what its rules let go.
            return
        text = self._masks.restored(text)
        if text.startswith("".join(attempt.pieces)):
            missing = text[attempt.length :]
        else:
            yield Restart(path)
            missing = text
        self._told = [text]
        if missing:
            yield Token(missing, path)
