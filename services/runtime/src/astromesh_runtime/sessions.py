"""Who goes next: one item at a time per session, in order of arrival, and a fair turn for every namespace. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(slots=True)
class SessionQueues(Generic[Item]):
    """Queues of items by session. A session is taken by its head until `done`; at most `limit` heads are out at once.

    An item that only waits (a suspended run) keeps its session but gives its place back: `park` and `unpark`.
    """

    limit: int
    out: int = 0
    _sessions: dict[tuple[str, str], deque[Item]] = field(default_factory=dict[tuple[str, str], deque[Item]])
    _taken: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _ready: OrderedDict[str, deque[str]] = field(default_factory=OrderedDict[str, deque[str]])

    def push(self, namespace: str, session: str, item: Item) -> None:
        """Puts an item behind the session's others."""
        key = (namespace, session)
        queue = self._sessions.setdefault(key, deque[Item]())
        queue.append(item)
        if len(queue) == 1 and key not in self._taken:
            self._make_ready(key)

    def next(self) -> Item | None:
        """The next item to work on, from the namespace whose turn it is; None where nothing may start now."""
        if self.out >= self.limit or not self._ready:
            return None
        namespace, sessions = self._ready.popitem(last=False)
        key = (namespace, sessions.popleft())
        if sessions:
            self._ready[namespace] = sessions
        self._taken.add(key)
        self.out += 1
        return self._sessions[key][0]

    def park(self) -> None:
        """An item that is out waits for the world: its place goes to another session's item."""
        self.out -= 1

    def unpark(self) -> None:
        """A parked item goes on, above the limit if need be: it has waited its turn already."""
        self.out += 1

    def done(self, namespace: str, session: str) -> None:
        """The session's head is finished; the one behind it becomes ready. A parked head is unparked first."""
        key = (namespace, session)
        self._taken.discard(key)
        self.out -= 1
        queue = self._sessions[key]
        queue.popleft()
        if queue:
            self._make_ready(key)
        else:
            del self._sessions[key]

    def remove(self, namespace: str, session: str, item: Item) -> bool:
        """Takes out an item that is not the session's head at work. False where it is not there."""
        key = (namespace, session)
        queue = self._sessions.get(key)
        if queue is None or item not in queue or (key in self._taken and queue[0] is item):
            return False
        queue.remove(item)
        if not queue:
            self._forget(key)
        return True

    def waiting(self) -> int:
        """Items that no one works on."""
        return sum(len(queue) for queue in self._sessions.values()) - len(self._taken)

    def _make_ready(self, key: tuple[str, str]) -> None:
        self._ready.setdefault(key[0], deque[str]()).append(key[1])

    def _forget(self, key: tuple[str, str]) -> None:
        del self._sessions[key]
        sessions = self._ready.get(key[0])
        if sessions is not None and key[1] in sessions:
            sessions.remove(key[1])
            if not sessions:
                del self._ready[key[0]]
