"""What a run's model calls cost, added up from its events: as charged, or as estimated where a call was lost. Pure.

begun ▸ open      replied ▸ charged      begun anew, or the run ends ▸ what was open is lost: billed as estimated
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from astromesh.v1.router_pb2 import Asked
from astromesh.v1.run_events_pb2 import RunEvent
from astromesh.v1.values_pb2 import Charge, Message, ToolSpec, Usage
from astromesh_core.events.contents import plain
from astromesh_core.events.runs import TERMINAL_EVENTS, add_usage

CHARACTERS_PER_TOKEN = 4
"""Of English text, about: for estimates, which are marked as such."""

TOKENS_PER_PICTURE = 1_000
"""Of a megapixel, about: 765 at OpenAI, 1,334 at Anthropic."""


def tokens(characters: int) -> int:
    """How many tokens a text of this length has, about; rounded up."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def prompt_tokens(messages: Iterable[Message], tools: Iterable[ToolSpec]) -> int:
    """What a model reads of these messages and tools, about. Contents that are stored have to be fetched before."""
    characters = sum(len(tool.name) + len(tool.description) + len(tool.parameters_json) for tool in tools)
    pictures = 0
    for message in messages:
        characters += len(plain(message.content)) + sum(len(plain(call.arguments)) for call in message.tool_calls)
        pictures += len(message.images)
    return tokens(characters) + TOKENS_PER_PICTURE * pictures


@dataclass(slots=True)
class Unbilled:
    """What calls have cost of which no event tells yet."""

    estimate: Usage | None = None
    """Of calls whose end nobody knows."""
    charges: list[Charge] = field(default_factory=list[Charge])
    """Of candidates that broke off, as the router tells it."""
    asked: Asked | None = None
    """Who answers the call under way, once it has begun to."""

    def __bool__(self) -> bool:
        return self.estimate is not None or bool(self.charges)

    def lost(self) -> Unbilled:
        """The same for a call that ended without its charge: a charge where it is known who answered."""
        if self.estimate is None or self.asked is None:
            return self
        return Unbilled(charges=[*self.charges, _estimated(self.asked, self.estimate)])

    def usage(self) -> Usage:
        """All of it."""
        total = Usage()
        for part in (self.estimate or Usage(), *(charge.usage for charge in self.charges)):
            add_usage(total, part)
        return total


class Bill:
    """A run's bill after each of its events. Whoever makes a call says what has come of it meanwhile."""

    def __init__(self) -> None:
        self.usage = Usage()
        """All that events bill."""
        self.cost_nanos = 0
        """The same in money: what is estimated by its tokens alone, for nobody knows who answered, has no price."""
        self._open: dict[str, Unbilled] = {}

    @classmethod
    def of(cls, events: Iterable[RunEvent]) -> Bill:
        """The bill of these events."""
        bill = cls()
        for event in events:
            bill.add(event)
        return bill

    def add(self, event: RunEvent) -> None:
        """Takes the next event; most say nothing of a bill."""
        kind = event.WhichOneof("event") or ""
        if kind == "model_call_begun":
            begun = event.model_call_begun
            if begun.HasField("lost_usage") or begun.partial_charges:
                self._open.pop(begun.path, None)
            self._bill(begun)
            # Where an event names nothing lost, what was open stays so until the reply, or the run's end, bills it.
            unbilled = self._open.setdefault(begun.path, Unbilled())
            unbilled.estimate = unbilled.estimate or Usage(estimated=True)
            unbilled.estimate.input_tokens += begun.prompt_tokens
            unbilled.asked = None
        elif kind == "model_replied":
            self._open.pop(event.model_replied.path, None)
            self._charge(event.model_replied.charge)
            self._bill(event.model_replied)
        elif kind in TERMINAL_EVENTS:
            self._open.clear()
            self._bill(getattr(event, kind))

    def heard(self, path: str, characters: int) -> None:
        """The call under way at this path has answered with so many characters so far."""
        estimate = self.unbilled(path).estimate
        if estimate is not None:
            estimate.output_tokens = tokens(characters)

    def answered(self, path: str, asked: Asked) -> None:
        """This candidate answers the call under way at this path."""
        self.unbilled(path).asked = asked

    def charged(self, path: str, charge: Charge) -> None:
        """A candidate of the call under way broke off and cost this; the call goes on with another one."""
        unbilled = self.unbilled(path)
        unbilled.charges.append(charge)
        unbilled.asked = None
        self.heard(path, 0)

    def unbilled(self, path: str) -> Unbilled:
        """What calls at a path have cost of which no event tells yet."""
        return self._open.get(path) or Unbilled()

    def closing(self, seen: int = 0) -> tuple[Usage, Unbilled]:
        """All that the run is billed where it ends now, and what of it its end has to tell.

        `seen`: characters that somebody read of the reply under way, which this worker may not know of.
        """
        lost = [unbilled.lost() for unbilled in self._open.values()]
        left = Unbilled(charges=[charge for unbilled in lost for charge in unbilled.charges])
        for unbilled in lost:
            if unbilled.estimate is not None:
                left.estimate = left.estimate or Usage()
                add_usage(left.estimate, unbilled.estimate)
        if left.estimate is not None:
            left.estimate.output_tokens = max(left.estimate.output_tokens, tokens(seen))
        total = left.usage()
        add_usage(total, self.usage)
        return total, left

    def _bill(self, event: Any) -> None:
        if event.HasField("lost_usage"):
            add_usage(self.usage, event.lost_usage)
        for charge in event.partial_charges:
            self._charge(charge)

    def _charge(self, charge: Charge) -> None:
        add_usage(self.usage, charge.usage)
        self.cost_nanos += charge.cost_nanos


def _estimated(asked: Asked, usage: Usage) -> Charge:
    cost_nanos = (usage.input_tokens * asked.input_nanos + usage.output_tokens * asked.output_nanos) // 1000
    return Charge(provider=asked.provider, model=asked.model, usage=usage, cost_nanos=cost_nanos, currency="USD")
