"""Writes the file that verifies without the mesh: chains as they are stored, and their place under a signed head."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable

from astromesh.v1.audit_pb2 import ExportAuditRequest, TreeHead
from astromesh.v1.envelope_pb2 import Envelope
from astromesh_core.audit.records import (
    TYPE_NAMES,
    Sealing,
    absent_line,
    chain_line,
    event_line,
    head_line,
    header,
    leaf_line,
    value_line,
)
from astromesh_core.errors import InvalidInput, NotFound, Unavailable
from astromesh_core.events.chain import StoredEvent
from astromesh_history import queries
from astromesh_history.audit import tree_file
from astromesh_history.audit.keeping import AuditTree
from astromesh_history.database import Database
from astromesh_history.objects import Objects, stored_values

_EVENTS = 200
_CHAINS = 500
_PAGE_BYTES = 1 << 20

Clock = Callable[[], int]
"""Unix time in nanoseconds."""


class Exporter:
    """Exports from the read model and the tree."""

    def __init__(self, database: Database, objects: Objects, tree: AuditTree, clock: Clock) -> None:
        self._database = database
        self._objects = objects
        self._tree = tree
        self._clock = clock

    async def lines(self, request: ExportAuditRequest) -> AsyncGenerator[bytes, None]:
        """The file, line by line.

        Everything asked for stands under one head, signed now where need be. Raises NotFound for a run that there is
        not, InvalidInput for a request that names nothing, Unavailable.
        """
        ids = await self._chains(request)
        head = await self._tree.settle()
        if head is None:
            raise NotFound("there is nothing in this mesh's log yet")
        head = await self._anchored(request.namespace, ids, head)
        if not await self._all(ids, lambda tree, some: tree_file.all_known(tree, request.namespace, some, head.size)):
            # Said while it can still be said: later the file would only break off.
            raise Unavailable("not all of it is in the tree yet", retry_after=1.0)
        sealing = Sealing()
        yield sealing.passed(header(request.namespace, self._clock()))
        yield sealing.passed(head_line(head))
        for chain_id in ids:
            async for line in self._chain(request.namespace, chain_id, head):
                yield sealing.passed(line)
        yield sealing.end()

    async def _chains(self, request: ExportAuditRequest) -> list[str]:
        if request.run_ids:
            for run_id in request.run_ids:
                if await self._database.call(queries.one_run, request.namespace, run_id) is None:
                    raise NotFound(f"there is no run {run_id[:80]!r} in this namespace")
            return list(dict.fromkeys(request.run_ids))
        if not request.session_key and not request.from_unix_nano:
            raise InvalidInput("name runs, a session, or the time from which runs are wanted")
        found = await self._database.call(
            queries.chains_of,
            request.namespace,
            request.session_key,
            request.from_unix_nano,
            request.until_unix_nano,
        )
        if not found:
            raise NotFound("no run and no session is like that")
        return found

    async def _anchored(self, namespace: str, ids: list[str], newest: TreeHead) -> TreeHead:
        """The newest head that stands at a place outside, where it covers all that is asked for; else the newest."""
        size = max((anchor.size for anchor in self._tree.anchors()), default=0)
        if not size or size == newest.size:
            return newest
        if not await self._all(ids, lambda tree, some: tree_file.all_within(tree, namespace, some, size)):
            return newest
        return await self._tree.database.call(tree_file.head_of_size, size)

    async def _all(self, ids: list[str], hold: Callable[[sqlite3.Connection, list[str]], bool]) -> bool:
        """Whether it holds of all these chains; asked of some at a time, for there may be very many."""
        for first in range(0, len(ids), _CHAINS):
            if not await self._tree.database.call(hold, ids[first : first + _CHAINS]):
                return False
        return True

    async def _chain(self, namespace: str, chain_id: str, head: TreeHead) -> AsyncGenerator[bytes, None]:
        leaf = await self._tree.database.call(tree_file.leaf_below, namespace, chain_id, head.size)
        if leaf is None:
            raise Unavailable(f"{chain_id} is not in the tree yet", retry_after=1.0)
        events = leaf.state.events
        yield chain_line(TYPE_NAMES[leaf.state.type], chain_id, events)
        values = dict[bytes, None]()
        index = 0
        while index < events:
            page = await self._database.call(
                queries.stored_events, namespace, chain_id, index, min(_EVENTS, events - index), _PAGE_BYTES, False
            )
            if not page:
                raise Unavailable(f"the events of {chain_id} from {index} on are not in the read model")
            for data in page:
                yield event_line(data)
                named = stored_values(StoredEvent(Envelope.FromString(data), data))
                values.update((value.sha256, None) for value in named)
            index += len(page)
        for sha256 in values:
            data = await self._objects.held(sha256)
            yield absent_line(sha256) if data is None else value_line(data)
        proof = await self._tree.database.call(tree_file.proof_of, leaf.number, head.size)
        places = [anchor.place for anchor in self._tree.anchors()]
        earlier = await self._tree.database.call(tree_file.earlier_ways, leaf.number, head.size, places)
        yield leaf_line(leaf.state.leaf(), leaf.number, proof, earlier)
