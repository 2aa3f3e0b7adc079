"""A backend of conversations of one's own, whole (docs/memory.md). It keeps everything in this process."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from astromesh_core.conversations import (
    Advance,
    AgentKey,
    Change,
    Forgotten,
    Place,
    Recalled,
    Remembered,
    Session,
    Summarised,
    Summary,
    Turn,
)


class MyConversations:
    """Keeps every change, and answers from them. A restart forgets all, and the log brings it back."""

    def __init__(self, *, url: str, mesh: str) -> None:
        self.positions: dict[AgentKey, bytes] = {}
        self.changes: set[Change] = set()

    async def followed(self) -> Mapping[AgentKey, bytes]:
        return dict(self.positions)

    async def follow(self, agent: AgentKey, position: bytes) -> None:
        self.positions.setdefault(agent, position)

    async def apply(self, changes: Sequence[Change], advances: Sequence[Advance]) -> Collection[AgentKey]:
        self.changes |= {it for it in changes if (it.namespace, it.agent) in self.positions}
        lacking = list[AgentKey]()
        for agent, after, upto in advances:
            position = self.positions.get(agent)
            if position is None or position < after:
                lacking.append(agent)
            else:
                self.positions[agent] = max(position, upto)
        return lacking

    async def last(self, agent: AgentKey, session_key: str, most: int) -> Recalled:
        turns = self._turns(agent.namespace, session_key)[-most:]
        return Recalled(self.positions.get(agent), turns, self._summary(agent.namespace, session_key))

    async def page(self, namespace: str, session_key: str, after: Place, most: int) -> Sequence[Turn]:
        return [turn for turn in self._turns(namespace, session_key) if turn.place > after][:most]

    async def sessions(self, agent: AgentKey, before: tuple[int, str] | None, most: int) -> Sequence[Session]:
        found = sorted(self._sessions(agent), key=_used, reverse=True)
        return [it for it in found if before is None or _used(it) < before][:most]

    async def idle(self, agent: AgentKey, until_unix_nano: int, most: int) -> Sequence[Session]:
        return [it for it in sorted(self._sessions(agent), key=_used) if it.last_unix_nano <= until_unix_nano][:most]

    async def of_user(self, namespace: str, user_key: str) -> Sequence[Session]:
        agents = sorted(agent for agent in self.positions if agent.namespace == namespace)
        found = [it for agent in agents for it in sorted(self._sessions(agent))]
        return [it for it in found if user_key and user_key in {turn.user_key for turn in self._of(namespace, it)}]

    async def drop(self, agent: AgentKey) -> None:
        self.positions.pop(agent, None)
        self.changes = {it for it in self.changes if (it.namespace, it.agent) != agent}

    async def close(self) -> None:
        pass

    def _of(self, namespace: str, session: Session) -> list[Turn]:
        return self._turns(namespace, session.session_key)

    def _turns(self, namespace: str, session_key: str) -> list[Turn]:
        kept = (it for it in self._kept(namespace, session_key) if isinstance(it, Remembered))
        turns = {Place(it.position, it.event_index): it for it in kept}
        return [
            Turn(it.run_id, it.time_unix_nano, it.user_key, it.stored, place) for place, it in sorted(turns.items())
        ]

    def _summary(self, namespace: str, session_key: str) -> Summary | None:
        kept = [it for it in self._kept(namespace, session_key) if isinstance(it, Summarised)]
        last = max(kept, key=lambda it: (it.position, it.event_index), default=None)
        return None if last is None else Summary(last.through_run_id, last.time_unix_nano, last.text)

    def _kept(self, namespace: str, session_key: str) -> list[Change]:
        all_of_it = [it for it in self.changes if (it.namespace, it.session_key) == (namespace, session_key)]
        gone = [it for it in all_of_it if isinstance(it, Forgotten)]
        return [it for it in all_of_it if not any(_covers(one, it) for one in gone)]

    def _sessions(self, agent: AgentKey) -> list[Session]:
        keys = {it.session_key for it in self.changes if (it.namespace, it.agent) == agent}
        found = list[Session]()
        for key in sorted(keys):
            turns = [it for it in self._kept(agent.namespace, key) if isinstance(it, Remembered)]
            if turns:
                times, name = [it.time_unix_nano for it in turns], max(it.session_id for it in turns)
                found.append(Session(key, agent.agent, name, len(turns), min(times), max(times)))
        return found


def _used(session: Session) -> tuple[int, str]:
    return session.last_unix_nano, session.session_key


def _covers(gone: Forgotten, kept: Change) -> bool:
    if isinstance(kept, Forgotten) or (isinstance(kept, Remembered) and gone.user_key not in ("", kept.user_key)):
        return False
    return kept.position <= gone.position or kept.time_unix_nano <= gone.until_unix_nano
