"""What every rule promises. Plain rules judge by the text alone, at once; asking rules wait for a model or a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, TypeAlias

from astromesh.v1.values_pb2 import Passage, Verdict

OnError: TypeAlias = Literal["block", "allow"]


class Applied(NamedTuple):
    """What a rule made of a text. `reason` is set where it blocks, and holds nothing of the text."""

    text: str
    verdict: Verdict
    reason: str = ""


class Rule(Protocol):
    """A plain rule, ready to be applied any number of times."""

    @property
    def name(self) -> str:
        """Its type, as YAML has it."""
        ...

    def apply(self, text: str) -> Applied:
        """Judges the text; findings are offsets in the text as given."""
        ...


@dataclass(frozen=True, slots=True)
class Judged:
    """A text, and what an asking rule may need beside it."""

    text: str
    passages: Sequence[Passage] = ()
    """What was retrieved for an answer; their texts are plain."""


class AskingRule(ABC):
    """A rule that asks a model. Safe to ask from many tasks at once."""

    name: ClassVar[str]
    """Its type, as YAML has it."""

    def __init__(self, on_error: OnError) -> None:
        self.on_error: OnError = on_error
        """What becomes of a text that cannot be judged."""

    @abstractmethod
    async def prepare(self) -> None:
        """Opens what it asks. Raises an AstromeshError where that is missing or away; may be called again then."""

    @abstractmethod
    async def judge(self, judged: Judged) -> Applied:
        """Judges the text; findings are offsets in the text as given. Raises an AstromeshError where it cannot."""


AnyRule: TypeAlias = Rule | AskingRule
