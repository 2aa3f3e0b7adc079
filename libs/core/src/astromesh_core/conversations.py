"""What keeps conversations: the port of their backends, and the values that cross it. Reading the log and deciding what
a run gets to see is the memory service's.

A backend is a projection of the log. It is given changes, any of them twice and in any order, and must come out the
same. It follows agents: of each it stores up to where in the log the agent's changes are applied, in the same
transaction as the changes. `astromesh_testing.contracts.conversations.ConversationsContract` checks all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

START: Final = b""
"""The position before the whole log. Positions are opaque bytes that sort as the places in the log do."""


class AgentKey(NamedTuple):
    """An agent, whose conversations lie in one backend."""

    namespace: str
    agent: str


class Place(NamedTuple):
    """A turn's place in its session; places sort as the turns do."""

    position: bytes
    event_index: int


FIRST: Final = Place(START, -1)
"""Before a session's first turn."""


class Remembered(NamedTuple):
    """A run's turn joins its session. Known again by (position, event_index)."""

    namespace: str
    agent: str
    session_key: str
    run_id: str
    position: bytes
    event_index: int
    time_unix_nano: int
    user_key: str
    """Whose turn it is; empty where nobody said."""
    session_id: bytes
    """A serialised Content: the session as its callers name it."""
    stored: bytes
    """A serialised MemoryStored. Contents that were moved or sealed stay references in it."""


class Summarised(NamedTuple):
    """Of the session, everything up to a run's turn is told by this text too. The one with the last place counts."""

    namespace: str
    agent: str
    session_key: str
    run_id: str
    position: bytes
    event_index: int
    time_unix_nano: int
    through_run_id: str
    text: bytes
    """A serialised Content."""


class Forgotten(NamedTuple):
    """What the session remembered before a place, or up to a time, is forgotten for good, whatever is applied later."""

    namespace: str
    agent: str
    session_key: str
    position: bytes
    """Turns and summaries at or before it are forgotten; START where the time alone decides."""
    until_unix_nano: int = -1
    """Turns and summaries of this time or an earlier one are forgotten; -1 where the place alone decides."""
    user_key: str = ""
    """Only this person's turns; and the summary, which may tell of them."""


Change: TypeAlias = Remembered | Summarised | Forgotten


class Advance(NamedTuple):
    """All of an agent's changes after one position and up to another are among those that are applied now, or there are
    none."""

    agent: AgentKey
    after: bytes
    upto: bytes


class Turn(NamedTuple):
    """What one run left in its session."""

    run_id: str
    time_unix_nano: int
    user_key: str
    stored: bytes
    """A serialised MemoryStored."""
    place: Place


class Summary(NamedTuple):
    """What a session's older turns come to."""

    through_run_id: str
    """The run of the last turn that it tells of."""
    time_unix_nano: int
    text: bytes
    """A serialised Content."""


class Recalled(NamedTuple):
    """A session's last turns, oldest first, its summary if it has one, and up to where its agent's changes are applied:
    None where the agent is not followed."""

    position: bytes | None
    turns: Sequence[Turn]
    summary: Summary | None


class Session(NamedTuple):
    """A session that remembers at least one turn."""

    session_key: str
    agent: str
    session_id: bytes
    turns: int
    first_unix_nano: int
    last_unix_nano: int
    """Of its last turn."""


@runtime_checkable
class ConversationStore(Protocol):
    """A backend of conversations. Methods may be called by many tasks at once, and by several processes at that.

    Each raises Unavailable where the backend does not answer, with a message that holds no secret. What a call stores
    is durable as the backend's own settings make it; what is lost comes back from the log, because the position is lost
    with it.
    """

    async def followed(self) -> Mapping[AgentKey, bytes]:
        """Returns up to where the changes of each followed agent are applied, without a gap."""
        ...

    async def follow(self, agent: AgentKey, position: bytes) -> None:
        """Follows an agent, of whom nothing is in the log up to the position. Does nothing for one that is followed."""
        ...

    async def apply(self, changes: Sequence[Change], advances: Sequence[Advance]) -> Collection[AgentKey]:
        """Applies the changes, and moves on each agent's position, all or nothing. Returns the agents of `advances` who
        are not followed, or whose position was less than `after`: something of theirs is missing here.

        Changes of an agent that is not followed are dropped. A position moves to `upto` only where it is at least
        `after` and less than `upto`: so that it never says more than what is applied. A change that is applied already,
        or that a Forgotten covers that came before, changes nothing.
        """
        ...

    async def last(self, agent: AgentKey, session_key: str, most: int) -> Recalled:
        """Returns the session's last turns, at most so many, all of one moment."""
        ...

    async def page(self, namespace: str, session_key: str, after: Place, most: int) -> Sequence[Turn]:
        """Returns the turns that follow a place, oldest first, at most so many."""
        ...

    async def sessions(self, agent: AgentKey, before: tuple[int, str] | None, most: int) -> Sequence[Session]:
        """Returns the agent's sessions, the last used first, at most so many; ties by their key, the greatest first.

        `before` is the `last_unix_nano` and the key of the last session of the page before.
        """
        ...

    async def idle(self, agent: AgentKey, until_unix_nano: int, most: int) -> Sequence[Session]:
        """Returns sessions whose last turn is of this time or an earlier one, the longest unused first."""
        ...

    async def of_user(self, namespace: str, user_key: str) -> Sequence[Session]:
        """Returns every session in which a turn of this person is, of any agent, by (agent, session key)."""
        ...

    async def drop(self, agent: AgentKey) -> None:
        """Removes everything about an agent, what it has forgotten too, and follows it no more."""
        ...

    async def close(self) -> None:
        """Gives back connections and files. Idempotent."""
        ...
