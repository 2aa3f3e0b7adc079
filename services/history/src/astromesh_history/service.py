"""The rpcs of history: lists, runs and stored events from the read model, with contents put back where they were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from astromesh.v1.audit_pb2 import (
    ExportAuditRequest,
    ExportAuditResponse,
    ListTreeHeadsRequest,
    ListTreeHeadsResponse,
)
from astromesh.v1.history_pb2 import (
    FindOpenRunsRequest,
    FindOpenRunsResponse,
    HistoryServiceGetRunRequest,
    HistoryServiceGetRunResponse,
    HistoryServiceListRunsRequest,
    HistoryServiceListRunsResponse,
    ListEventsRequest,
    ListEventsResponse,
    SumCostsRequest,
    SumCostsResponse,
)
from astromesh.v1.history_pb2_grpc import HistoryServiceServicer
from astromesh.v1.runs_pb2 import Run, RunFilter
from astromesh_core.errors import InvalidInput, NotFound, Unavailable
from astromesh_core.events.identity import check_namespace
from astromesh_core.rpc.ports import ServicerContext
from astromesh_history import costs, pages, queries
from astromesh_history.audit import tree_file
from astromesh_history.audit.exporting import Exporter
from astromesh_history.audit.keeping import AuditTree
from astromesh_history.database import Database
from astromesh_history.objects import Objects
from astromesh_history.open_runs import open_runs_of
from astromesh_history.pages import Place
from astromesh_history.projector import Projector

PAGE_BYTES: Final = 4 << 20
"""A page ends early at this size, far below what one message may have."""

CATCH_UP_SECONDS: Final = 1.5
"""How long sums wait for a read model that is behind the log."""

_EVENTS: Final = 1_000
_HEADS: Final = 100
_CHUNK_BYTES: Final = 256 << 10


class HistoryService(HistoryServiceServicer):
    """Reads what the projector has written; before each answer it has written all that the log has told so far."""

    def __init__(
        self,
        database: Database,
        objects: Objects,
        projector: Projector,
        catch_up: Callable[[], Awaitable[None]],
        tree: AuditTree,
        exporter: Exporter,
    ) -> None:
        """`catch_up` returns when the projector has taken all that the log holds as it is called."""
        self._tree = tree
        self._exporter = exporter
        self._catch_up = catch_up
        self._database = database
        self._objects = objects
        self._projector = projector

    async def ListRuns(
        self, request: HistoryServiceListRunsRequest, context: ServicerContext
    ) -> HistoryServiceListRunsResponse:
        """Newest first, without steps and sources: `GetRun` has them. Raises InvalidInput for a token that is none."""
        namespace, of = check_namespace(request.namespace), request.filter
        if of.text and not queries.words(of.text):
            raise InvalidInput("filter.text holds no word: search for letters or digits")
        size = pages.page_size(request.page_size)
        after = pages.decode(request.page_token, namespace, of)
        await self._projector.settle()
        found = await self._database.call(queries.run_page, namespace, of, after, size + 1)
        return await self._page(found, size, namespace, of)

    async def GetRun(
        self, request: HistoryServiceGetRunRequest, context: ServicerContext
    ) -> HistoryServiceGetRunResponse:
        """The run, whole. Raises NotFound."""
        namespace = check_namespace(request.namespace)
        await self._projector.settle()
        found = await self._database.call(queries.one_run, namespace, request.run_id)
        if found is None:
            raise _no_run(request.run_id)
        run = Run.FromString(found)
        await self._objects.read_all(run)
        return HistoryServiceGetRunResponse(run=run)

    async def ListEvents(self, request: ListEventsRequest, context: ServicerContext) -> ListEventsResponse:
        """The events from an index on; an empty page is the end, an early end of one is none. Raises NotFound."""
        namespace = check_namespace(request.namespace)
        if request.from_index < 0 or request.page_size < 0:
            raise InvalidInput("from_index and page_size may not be negative")
        await self._projector.settle()
        size = min(request.page_size or _EVENTS, _EVENTS)
        found = await self._database.call(
            queries.stored_events, namespace, request.run_id, request.from_index, size, PAGE_BYTES
        )
        if found is None:
            raise _no_run(request.run_id)
        return ListEventsResponse(envelopes=found)

    async def SumCosts(self, request: SumCostsRequest, context: ServicerContext) -> SumCostsResponse:
        """What model calls cost, by all that the log holds now.

        Raises InvalidInput, and Unavailable where the read model is far behind: its sums would be too small.
        """
        if request.namespace:
            check_namespace(request.namespace)
        columns = costs.columns_of(request.group_by)
        await self._current("sums would be too small")
        return await self._database.call(costs.sums, request, columns)

    async def ExportAudit(
        self, request: ExportAuditRequest, context: ServicerContext
    ) -> AsyncIterator[ExportAuditResponse]:
        """The file, in pieces. Raises NotFound, InvalidInput, and Unavailable where the read model is far behind."""
        check_namespace(request.namespace)
        await self._current("what is exported would not be whole")
        chunk = bytearray()
        async with aclosing(self._exporter.lines(request)) as lines:
            async for line in lines:
                chunk += line
                while len(chunk) >= _CHUNK_BYTES:
                    yield ExportAuditResponse(data=bytes(chunk[:_CHUNK_BYTES]))
                    del chunk[:_CHUNK_BYTES]
        yield ExportAuditResponse(data=bytes(chunk))

    async def ListTreeHeads(self, request: ListTreeHeadsRequest, context: ServicerContext) -> ListTreeHeadsResponse:
        """Signed heads, newest first, and where they were told."""
        if request.page_size < 0 or request.before_size < 0:
            raise InvalidInput("page_size and before_size may not be negative")
        size = min(request.page_size or _HEADS, _HEADS)
        found = await self._tree.database.call(tree_file.heads, request.before_size, size)
        following = found[-1].size if len(found) == size else 0
        return ListTreeHeadsResponse(heads=found, anchors=self._tree.anchors(), next_before_size=following)

    async def FindOpenRuns(self, request: FindOpenRunsRequest, context: ServicerContext) -> FindOpenRunsResponse:
        """A person's runs that have not ended, by all that the log holds now.

        Raises InvalidInput, and Unavailable where the read model is far behind: it would miss some.
        """
        if not request.user_key:
            raise InvalidInput("user_key is empty")
        await self._current("runs would be missed")
        namespace, until = check_namespace(request.namespace), request.until_unix_nano
        runs = await self._database.call(open_runs_of, namespace, request.user_key, until)
        return FindOpenRunsResponse(runs=runs)

    async def _current(self, otherwise: str) -> None:
        try:
            async with asyncio.timeout(CATCH_UP_SECONDS):
                await self._catch_up()
        except TimeoutError:
            raise Unavailable(f"the read model is being built: {otherwise}", retry_after=5.0) from None
        await self._projector.settle()

    async def _page(
        self, found: list[queries.FoundRun], size: int, namespace: str, of: RunFilter
    ) -> HistoryServiceListRunsResponse:
        page, room = HistoryServiceListRunsResponse(), PAGE_BYTES
        last: Place | None = None
        for requested, number, folded in found[:size]:
            run = Run.FromString(folded)
            del run.steps[:], run.sources[:]
            await self._objects.read_all(run)
            room -= run.ByteSize()
            if last is not None and room < 0:
                break
            page.runs.append(run)
            last = Place(requested, number)
        if last is not None and len(page.runs) < len(found):
            page.next_page_token = pages.encode(last, namespace, of)
        return page


def _no_run(run_id: str) -> NotFound:
    return NotFound(f"there is no run {run_id[:80]!r} in this namespace")
