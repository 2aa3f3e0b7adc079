"""What stands between a pattern and its tools: the agent's rules for arguments and results, masks, and the marks around
what others wrote. Pure: all that it decides follows from what was recorded.

arguments   checked as the model wrote them ▸ a blocked call fails, a redacted one is made as redacted ▸ masks undone
            for the tools that get what they stand for
results     checked ▸ known values masked ▸ marked as data ▸ read by the model
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from astromesh.v1.run_events_pb2 import ChildFinished, ToolArgumentsChecked, ToolResultChecked, ToolSucceeded
from astromesh.v1.values_pb2 import ROLE_TOOL, MaskedValue, Message, Passage, ToolCall
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.masks import Masks
from astromesh_core.untrusted import INSTRUCTION, marked, unmarked
from astromesh_runtime.effects import CallAgent, CallTool, CheckArguments, CheckResults, ToolOutcome

Member: TypeAlias = CallTool | CallAgent
Made: TypeAlias = Callable[[str, ToolCall], Member]
"""Makes the effect of a call at a path."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """What of it applies to a run, by what `started` pins."""

    checks_arguments: bool = False
    checks_results: bool = False
    boundary: str = ""
    masks: bool = False
    unmasked_tools: tuple[str, ...] = ()

    @property
    def is_needed(self) -> bool:
        """Whether anything stands between the run and its tools."""
        return bool(self.checks_arguments or self.checks_results or self.boundary or self.masks)

    def guard(self) -> Guard:
        """The guard of a run that begins, or is replayed."""
        masks = Masks() if self.masks else None
        return Guard(self.checks_arguments, self.checks_results, self.boundary, masks, frozenset(self.unmasked_tools))


@dataclass(slots=True)
class Guard:
    """The guard of one run. `masks` is None where nothing is masked."""

    checks_arguments: bool = False
    checks_results: bool = False
    boundary: str = ""
    masks: Masks | None = None
    unmasked_tools: frozenset[str] = field(default_factory=frozenset[str])

    def learn(self, masked: Iterable[MaskedValue]) -> None:
        """Takes in what an event masked."""
        if self.masks is not None:
            self.masks.learn(masked)

    def before(
        self, path: str, members: tuple[Member, ...], made: Made
    ) -> Generator[CheckArguments, Any, tuple[Member, ...]]:
        """The calls as they are made."""
        if self.checks_arguments:
            checks: Sequence[ToolArgumentsChecked] = yield CheckArguments(path, members)
            members = tuple(_admitted(member, check, made) for member, check in zip(members, checks, strict=True))
        if self.masks is None:
            return members
        return tuple(self._unmasked(member, made, self.masks) for member in members)

    def after(
        self, path: str, members: tuple[Member, ...], outcomes: Sequence[ToolOutcome]
    ) -> Generator[CheckResults, Any, Sequence[ToolOutcome]]:
        """The outcomes as the model is to know of them."""
        if not self.checks_results:
            return outcomes
        checks: Sequence[ToolResultChecked | None] = yield CheckResults(path, members, tuple(outcomes))
        for check in checks:
            if check is not None:
                self.learn(check.masked)
        return [_received(outcome, check) for outcome, check in zip(outcomes, checks, strict=True)]

    def told(self, members: Iterable[Member], messages: Iterable[Message]) -> list[Message]:
        """What the model reads of a step's outcomes."""
        return [
            message if member.is_refused else self.marked(message)
            for member, message in zip(members, messages, strict=True)
        ]

    def marked(self, message: Message) -> Message:
        """A tool's message with known values masked, and its text marked as data; every other message as it is."""
        if message.role != ROLE_TOOL:
            return message
        text = plain(message.content)
        shown = marked(self.boundary, message.name or "a tool", self.hidden(text))
        return message if shown == text else _with_text(message, shown)

    def instructed(self, prompt: str) -> str:
        """The system prompt with what it has to say of marks."""
        return f"{prompt}\n\n{INSTRUCTION}".strip() if self.boundary else prompt

    def hidden(self, text: str) -> str:
        """A text as a model may read it."""
        return text if self.masks is None else self.masks.hidden(text)

    def unmarked(self, text: str) -> str:
        """An answer that a pattern took from another agent as it came, without its marks."""
        return unmarked(text) if self.boundary else text

    def restored(self, text: str, *, in_json: bool = False) -> str:
        """An answer as its user reads it."""
        text = self.unmarked(text)
        return text if self.masks is None else self.masks.restored(text, in_json=in_json)

    def shown(self, passage: Passage) -> Passage:
        """A source as its user reads it."""
        text = plain(passage.text)
        restored = self.restored(text)
        if restored == text:
            return passage
        shown = Passage()
        shown.CopyFrom(passage)
        shown.text.CopyFrom(text_content(restored))
        return shown

    def remembered(self, message: Message) -> Message:
        """A message as memory keeps it, nothing masked and nothing marked: a later run has marks of its own."""
        if message.role == ROLE_TOOL and self.boundary:
            message = _with_text(message, unmarked(plain(message.content)))
        return message if self.masks is None else self.masks.restored_message(message)

    def _unmasked(self, member: Member, made: Made, masks: Masks) -> Member:
        call = member.call
        if call is None or call.name not in self.unmasked_tools or member.is_refused:
            return member
        restored = masks.restored_call(call)
        return member if restored is call else made(member.path, restored)


def _admitted(member: Member, check: ToolArgumentsChecked, made: Made) -> Member:
    """The call as its check leaves it."""
    if check.HasField("refusal"):
        return CallTool(member.path, member.call or ToolCall(), member.sha256, refused=check.refusal)
    if not check.HasField("arguments"):
        return member
    call = check.call
    return made(member.path, ToolCall(id=call.id, name=call.name, arguments=check.arguments))


def _received(outcome: ToolOutcome, check: ToolResultChecked | None) -> ToolOutcome:
    """The outcome as its check leaves it."""
    if check is None:
        return outcome
    if isinstance(outcome, ToolSucceeded):
        left = ToolSucceeded()
        left.CopyFrom(outcome)
        left.result.output.CopyFrom(check.text)
        del left.result.passages[:]
        left.result.passages.extend(() if check.blocked else passages_left(outcome.result.passages, check))
        left.result.is_error = outcome.result.is_error or check.blocked
        return left
    if isinstance(outcome, ChildFinished) and outcome.HasField("answer"):
        finished = ChildFinished()
        finished.CopyFrom(outcome)
        finished.answer.CopyFrom(check.text)
        if check.blocked:
            del finished.sources[:]
        return finished
    failed = type(outcome)()
    failed.CopyFrom(outcome)  # pyright: ignore[reportArgumentType]  # of its own type
    failed.failure.message.CopyFrom(check.text)
    return failed


def passages_left(passages: Iterable[Passage], check: ToolResultChecked) -> list[Passage]:
    """The passages that were not left out, those that were changed as they are now."""
    blocked = {each.passage_id for each in check.checked_passages if each.blocked}
    changed = {passage.id: passage for passage in check.passages}
    return [changed.get(passage.id, passage) for passage in passages if passage.id not in blocked]


def _with_text(message: Message, text: str) -> Message:
    changed = Message()
    changed.CopyFrom(message)
    changed.content.CopyFrom(text_content(text))
    return changed
