"""Among whose runs an agent finds something again: the rule, and nothing else. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from astromesh_core.filters import Equals, Every, Filter
from astromesh_core.resources.agent_memory import Scope
from astromesh_memory.runs.ledger import RunRow, Touched


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    session_key: str
    owner_key: str
    """Empty where the caller names no user."""


@dataclass(frozen=True, slots=True)
class Among:
    """The runs that a caller may be told of. What is None does not matter."""

    owner_key: str | None = None
    session_key: str | None = None

    def admits(self, row: RunRow | Touched) -> bool:
        """Whether the run is among them."""
        return self.owner_key in (None, row.owner_key) and self.session_key in (None, row.session_key)

    @property
    def condition(self) -> Filter:
        """The same for a store's metadata."""
        parts = [Equals("owner", self.owner_key)] if self.owner_key is not None else []
        parts += [Equals("session", self.session_key)] if self.session_key is not None else []
        return Every(tuple(parts))


EVERYBODY: Final = Among()


def among(scope: Scope, caller: Caller) -> Among:
    """The runs that a scope opens to a caller.

    A user's own, in whatever session; where the caller names nobody, those of its session that named nobody either, so
    that anonymous callers share nothing and nobody reads a person's memories by leaving the name out.
    """
    match scope:
        case "agent":
            return EVERYBODY
        case "session":
            return Among(session_key=caller.session_key)
        case "user":
            return Among(owner_key=caller.owner_key, session_key=None if caller.owner_key else caller.session_key)
