"""Keeps the tree: takes in how far chains have come, signs its head from time to time, and tells it outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from astromesh.v1.audit_pb2 import Anchor, TreeHead
from astromesh_core.audit.heads import Signer, head_sha256
from astromesh_core.errors import AstromeshError, TemporaryError
from astromesh_core.telemetry.logs import logger
from astromesh_history.audit import tree_file
from astromesh_history.audit.places import SECONDS, Place
from astromesh_history.audit.tree_file import ChainState
from astromesh_history.chains import Chain
from astromesh_history.database import Database

AT_A_TIME = 256
"""Leaves of one transaction: a few milliseconds, after which others get their turn."""

MOST_WAITING = 5_000
"""Chains that wait for the next head; with more, they come into the tree at once and the head follows later."""

_SCANNED = 2_000

_log = logger(__name__)


@dataclass(slots=True)
class _Told:
    """How a place is doing."""

    size: int = 0
    time_unix_nano: int = 0
    trouble: str = ""


class AuditTree:
    """The tree of one mesh. `run` it; everything else may be called meanwhile."""

    def __init__(self, database: Database, signer: Signer, clock: Callable[[], int]) -> None:
        """`clock` answers Unix nanoseconds."""
        self.database = database
        self._signer = signer
        self._clock = clock
        self._waiting: dict[tuple[str, str], ChainState] = {}
        self._turn = asyncio.Lock()
        self._telling = asyncio.Lock()
        self._many = asyncio.Event()
        self._configured = asyncio.Event()
        self._interval = 60.0
        self._places: Sequence[Place] = ()
        self._told: dict[str, _Told] = {}
        self.on_anchored: Callable[[], Awaitable[None]] = _nothing
        """Called after places were told, or could not be."""

    def configure(self, interval: float, places: Sequence[Place]) -> None:
        """Signs every so many seconds from now on, and tells these places."""
        self._interval, self._places = interval, places
        self._told = {place.name: self._told.get(place.name, _Told()) for place in places}
        self._configured.set()

    def written(self, chains: Iterable[Chain]) -> None:
        """These chains are in the read model now, as they are."""
        for chain in chains:
            head, aggregate = chain.head, chain.aggregate
            if head.next_index and aggregate.type in tree_file.TYPES:
                state = ChainState(aggregate.namespace, aggregate.id, aggregate.type, *head)
                self._waiting[state.namespace, state.id] = state
        if len(self._waiting) > MOST_WAITING:
            self._many.set()

    async def run(self) -> None:
        """Until it is cancelled. What the process before this one did not come to is taken in first."""
        await self._patiently(self._catch_up)
        while True:
            await self._patiently(lambda: self.settle(again=True))
            await self._rest()

    async def settle(self, *, again: bool = False) -> TreeHead | None:
        """Takes in and tells all that waits; answers the newest head, None while there is no chain at all.

        `again`: also to places that failed last; nobody else waits for those. Raises Unavailable where the tree cannot
        be written.
        """
        async with self._turn:
            await self._take_in()
            head = await self._signed()
        if head is not None:
            async with self._telling:
                await self._tell(head, again=again)
        return head

    def anchors(self) -> list[Anchor]:
        """Every place, and how far it has come."""
        return [
            Anchor(place=name, size=told.size, time_unix_nano=told.time_unix_nano, trouble=told.trouble)
            for name, told in self._told.items()
        ]

    async def _rest(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while (left := begun + self._interval - loop.time()) > 0:
            self._many.clear()
            self._configured.clear()
            waits = [asyncio.ensure_future(event.wait()) for event in (self._many, self._configured)]
            try:
                await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if self._configured.is_set():
                return
            if self._many.is_set():
                await self._patiently(self._grow)

    async def _catch_up(self) -> None:
        after = 0
        while True:
            states, after = await self.database.call(tree_file.behind, after, _SCANNED)
            for state in states:
                self._waiting.setdefault((state.namespace, state.id), state)
            if not after:
                return
            if len(self._waiting) > MOST_WAITING:
                await self._grow()

    async def _grow(self) -> None:
        async with self._turn:
            await self._take_in()

    async def _take_in(self) -> None:
        waiting, self._waiting = list(self._waiting.values()), {}
        try:
            while waiting:
                await self.database.call(tree_file.grow, waiting[:AT_A_TIME])
                del waiting[:AT_A_TIME]
        finally:
            # Also where whoever asked for it has left meanwhile: nothing else tells the tree of them.
            for state in waiting:
                self._waiting.setdefault((state.namespace, state.id), state)

    async def _signed(self) -> TreeHead | None:
        """The head over all leaves: the newest one, where nothing was added since."""
        newest = await self.database.call(tree_file.heads, 0, 1)
        size, root = await self.database.call(tree_file.root_of)
        if not size or (newest and newest[0].size == size):
            return newest[0] if newest else None
        head = TreeHead(
            tree=await self.database.call(tree_file.tree_id),
            size=size,
            root=root,
            time_unix_nano=self._clock(),
            previous=head_sha256(newest[0]) if newest else b"",
        )
        self._signer.sign(head)
        await self.database.call(tree_file.add_head, head)
        return head

    async def _tell(self, head: TreeHead, *, again: bool) -> None:
        told = [(place, self._told[place.name]) for place in self._places]
        due = [(place, how) for place, how in told if how.size < head.size and (again or not how.trouble)]
        await asyncio.gather(*(self._tell_one(place, how, head) for place, how in due))
        if due:
            await self.on_anchored()

    async def _tell_one(self, place: Place, told: _Told, head: TreeHead) -> None:
        if not told.size:
            told.size, told.time_unix_nano = await self.database.call(tree_file.anchored_at, place.name)
        try:
            async with asyncio.timeout(SECONDS):
                await place.tell(head)
        except TimeoutError:
            told.trouble = f"no answer within {SECONDS:g} s"
        except AstromeshError as error:
            told.trouble = error.message
        else:
            told.size, told.time_unix_nano, told.trouble = head.size, self._clock(), ""
            await self.database.call(tree_file.note_anchored, place.name, head.size, told.time_unix_nano)
            return
        _log.error("a tree head could not be anchored", place=place.name, reason=told.trouble)

    async def _patiently(self, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await work()
            except TemporaryError as error:
                _log.warning("the audit tree waits", reason=error.message)
                await asyncio.sleep(error.retry_after or 1.0)
            else:
                return


async def _nothing() -> None:
    """Nobody asked to be told."""
