"""The history service on a real log, in both placements."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from astromesh.v1.history_pb2 import (
    HistoryServiceGetRunRequest,
    HistoryServiceListRunsRequest,
    HistoryServiceListRunsResponse,
    ListEventsRequest,
)
from astromesh.v1.history_pb2_grpc import HistoryServiceStub, add_HistoryServiceServicer_to_server
from astromesh.v1.run_events_pb2 import ApprovalDecided, ApprovalRequested, RunEvent
from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED, RUN_STATUS_QUEUED, RunFilter
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.bus.writer import AggregateWriter
from astromesh_core.errors import AstromeshError, InvalidInput, NotFound
from astromesh_core.events.chain import GENESIS, verify_chain
from astromesh_core.events.contents import text_content
from astromesh_core.readiness import Readiness
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_history.app import open_history
from astromesh_testing.commits import begun, commit_of, completed, new_run, requested
from astromesh_testing.contracts.placement import Placement
from astromesh_testing.nats import nats_server

if TYPE_CHECKING:
    from astromesh.v1.history_pb2_grpc import HistoryServiceAsyncStub

HOUR = 3_600_000_000_000


@asynccontextmanager
async def history(
    placement: Placement, bus: Bus, folder: Path, readiness: Readiness | None = None
) -> AsyncGenerator[HistoryServiceAsyncStub]:
    """The service in a placement."""
    async with open_history(folder, bus, Telemetry(), readiness or Readiness(), b"k" * 32) as service:

        def register(server: RpcServer) -> None:
            add_HistoryServiceServicer_to_server(service, server)

        async with placement(register) as channel:
            yield HistoryServiceStub(channel)


def asked(question: str = "hello", agent: str = "echo", session: str = "a" * 26) -> RunEvent:
    event = requested(question)
    event.requested.agent, event.requested.session_key = agent, session
    return event


async def record(bus: Bus, *bodies: RunEvent, namespace: str = "default", time: int = HOUR) -> Aggregate:
    """Stores a run as its writer does."""
    run = new_run(namespace)
    writer = AggregateWriter(bus.log, bus.values, run, Position.START, GENESIS, "test", lambda: time)
    for body in bodies:
        writer.record(body)
    await writer.flush()
    await writer.close()
    return run


async def eventually(ask: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await ask():  # noqa: ASYNC110 - what is waited for happens in the service, which tells nobody
            await asyncio.sleep(0.01)


async def pages(stub: HistoryServiceAsyncStub, of: RunFilter, size: int) -> list[HistoryServiceListRunsResponse]:
    found: list[HistoryServiceListRunsResponse] = []
    token = ""
    while token or not found:
        request = HistoryServiceListRunsRequest(namespace="default", filter=of, page_size=size, page_token=token)
        found.append(await stub.ListRuns(request))
        token = found[-1].next_page_token
    return found


async def listed(stub: HistoryServiceAsyncStub, namespace: str = "default", **of: object) -> set[str]:
    request = HistoryServiceListRunsRequest(namespace=namespace, filter=RunFilter(**of))  # pyright: ignore[reportArgumentType] - the test names the filter's fields
    return {run.run_id for run in (await stub.ListRuns(request)).runs}


async def holds(stub: HistoryServiceAsyncStub, count: int, namespace: str = "default") -> None:
    """Waits until the read model has so many runs."""

    async def enough() -> bool:
        return len(await listed(stub, namespace)) == count

    await eventually(enough)


async def test_a_run_reads_as_it_was_recorded(placement: Placement, bus: Bus, tmp_path: Path) -> None:
    async with history(placement, bus, tmp_path / "history") as stub:
        run = await record(bus, asked("what is it?"), begun(), completed("it is this"))
        await holds(stub, 1)
        found = (await stub.GetRun(HistoryServiceGetRunRequest(namespace="default", run_id=run.id))).run
        assert (found.query, found.answer) == (text_content("what is it?"), text_content("it is this"))
        assert found.status == RUN_STATUS_COMPLETED
        assert len(found.steps) == 1
        events = (await stub.ListEvents(ListEventsRequest(namespace="default", run_id=run.id))).envelopes
        assert verify_chain(events).ok
        late = await stub.ListEvents(ListEventsRequest(namespace="default", run_id=run.id, from_index=1, page_size=1))
        assert list(late.envelopes) == [events[1]]
        assert list(events) == [event.data for event in (await bus.log.read(run)).events]


async def test_runs_are_found_by_agent_session_status_time_and_words(
    placement: Placement, bus: Bus, tmp_path: Path
) -> None:
    async with history(placement, bus, tmp_path / "history") as stub:
        blue = await record(bus, asked("Where is the blue Café?", "guide"), completed("In Köln, near the river"))
        red = await record(bus, asked("the red one?", "shop", "b" * 26), time=3 * HOUR)
        await holds(stub, 2)
        assert await listed(stub, agent="guide") == {blue.id}
        assert await listed(stub, session_key="b" * 26) == {red.id}
        assert await listed(stub, status=RUN_STATUS_QUEUED) == {red.id}
        assert await listed(stub, status=RUN_STATUS_COMPLETED) == {blue.id}
        assert await listed(stub, from_unix_nano=2 * HOUR) == {red.id}
        assert await listed(stub, until_unix_nano=2 * HOUR) == {blue.id}
        assert await listed(stub, text="cafe koln") == {blue.id}
        assert await listed(stub, text='"blue" OR) red*') == set()
        assert await listed(stub, text="one?") == {red.id}


async def test_runs_that_ask_a_human_are_found_until_one_has_decided(
    placement: Placement, bus: Bus, tmp_path: Path
) -> None:
    asks = RunEvent(approval_requested=ApprovalRequested(path="2.1"))
    decided = RunEvent(approval_decided=ApprovalDecided(path="2.1", approved=True))
    async with history(placement, bus, tmp_path / "history") as stub:
        waiting = await record(bus, asked(), asks)
        for done in ([asks, decided], [asks, completed("it ended")], [completed("never")]):
            await record(bus, asked(), *done)
        await holds(stub, 4)
        assert await listed(stub, asks_human=True) == {waiting.id}


async def test_pages_are_stable_while_runs_are_added(placement: Placement, bus: Bus, tmp_path: Path) -> None:
    async with history(placement, bus, tmp_path / "history") as stub:
        first = [(await record(bus, asked(), time=HOUR + n // 2)).id for n in range(7)]
        await holds(stub, 7)
        page = await stub.ListRuns(HistoryServiceListRunsRequest(namespace="default", page_size=3))
        await record(bus, asked(), time=2 * HOUR)
        await holds(stub, 8)
        request = HistoryServiceListRunsRequest(namespace="default", page_size=3, page_token=page.next_page_token)
        following = await stub.ListRuns(request)
        seen = [run.run_id for run in (*page.runs, *following.runs)]
        assert seen == first[:0:-1]
        every = await pages(stub, RunFilter(), 3)
        assert [len(page.runs) for page in every] == [3, 3, 2]


async def test_a_token_of_another_list_is_refused(placement: Placement, bus: Bus, tmp_path: Path) -> None:
    async with history(placement, bus, tmp_path / "history") as stub:
        for _ in range(2):
            await record(bus, asked())
        await holds(stub, 2)
        page = await stub.ListRuns(HistoryServiceListRunsRequest(namespace="default", page_size=1))
        for token, agent in ((page.next_page_token, "other"), ("rubbish", ""), ("é", "")):
            request = HistoryServiceListRunsRequest(
                namespace="default", page_token=token, filter=RunFilter(agent=agent)
            )
            with pytest.raises(InvalidInput, match="page_token"):
                await stub.ListRuns(request)


async def test_a_namespace_sees_nothing_of_another(placement: Placement, bus: Bus, tmp_path: Path) -> None:
    async with history(placement, bus, tmp_path / "history") as stub:
        run = await record(bus, asked(), completed(), namespace="theirs")
        await holds(stub, 1, "theirs")
        assert await listed(stub, "ours", text="hello") == set()
        with pytest.raises(NotFound):
            await stub.GetRun(HistoryServiceGetRunRequest(namespace="ours", run_id=run.id))
        with pytest.raises(NotFound):
            await stub.ListEvents(ListEventsRequest(namespace="ours", run_id=run.id))


async def test_contents_in_the_object_store_are_copied_searched_and_shown(
    placement: Placement, bus: Bus, tmp_path: Path
) -> None:
    question = "elephant " + secrets.token_hex(200_000)
    async with history(placement, bus, tmp_path / "history") as stub:
        run = await record(bus, asked(question), completed())
        stored = (await bus.log.read(run)).events[0].envelope.run.requested.query
        assert stored.HasField("stored")
        await holds(stub, 1)
        assert await listed(stub, text="elephant") == {run.id}
        found = (await stub.GetRun(HistoryServiceGetRunRequest(namespace="default", run_id=run.id))).run
        assert found.query == text_content(question)


async def test_what_was_stored_while_history_was_away_is_read_at_the_next_start(
    placement: Placement, bus: Bus, tmp_path: Path
) -> None:
    async with history(placement, bus, tmp_path / "history") as stub:
        await record(bus, asked(), completed())
        await holds(stub, 1)
    await record(bus, asked(), completed())
    readiness = Readiness()
    async with history(placement, bus, tmp_path / "history", readiness) as stub:
        await holds(stub, 2)
        assert (await readiness.report()).ok


async def test_a_forged_commit_in_the_log_turns_readiness_red_within_seconds(
    placement: Placement, bus: Bus, tmp_path: Path
) -> None:
    readiness = Readiness()
    async with history(placement, bus, tmp_path / "history", readiness) as stub:
        run = await record(bus, asked(), begun())
        await holds(stub, 1)
        tail = await bus.log.tail(run)
        assert tail is not None
        forged, _ = commit_of(run, [completed("forged")], tail.head._replace(sha256=secrets.token_bytes(32)))
        await bus.log.append(run.log, run, forged, tail.position)

        async def red() -> bool:
            return not (await readiness.report()).checks["history-log"].ok

        await eventually(red)
        reason = (await readiness.report()).checks["history-log"].reason
        assert f"{run.id}:2: the hash of the previous event differs" in reason


async def test_a_message_that_is_no_commit_is_an_alarm_and_reading_goes_on(
    placement: Placement, bus: Bus, tmp_path: Path
) -> None:
    readiness = Readiness()
    async with history(placement, bus, tmp_path / "history", readiness) as stub:
        run = new_run()
        await bus.log.append(run.requested, run, b"rubbish", Position.START)
        await record(bus, asked())
        await holds(stub, 1)
        assert "holds no commit" in (await readiness.report()).checks["history-log"].reason


async def test_a_log_that_ends_before_the_read_model_is_an_alarm_and_is_read_anew(
    placement: Placement, bus: Bus, tmp_path: Path
) -> None:
    async with history(placement, bus, tmp_path / "a") as stub:
        for _ in range(3):
            await record(bus, asked())
        await holds(stub, 3)
    readiness = Readiness()
    async with nats_server(tmp_path / "other") as server, server.bus() as other:
        await record(other, asked())
        async with history(placement, other, tmp_path / "a", readiness) as stub:
            await holds(stub, 4)
            assert "the log ends before" in (await readiness.report()).checks["history-log"].reason


async def test_a_question_for_no_words_is_refused(placement: Placement, bus: Bus, tmp_path: Path) -> None:
    async with history(placement, bus, tmp_path / "history") as stub:
        for request in (
            HistoryServiceListRunsRequest(namespace="default", filter=RunFilter(text="?!")),
            HistoryServiceListRunsRequest(namespace="Not A Label"),
            HistoryServiceListRunsRequest(namespace="default", page_size=-1),
        ):
            with pytest.raises(AstromeshError) as refused:
                await stub.ListRuns(request)
            assert isinstance(refused.value, InvalidInput)
