"""The read model without a log: what commits come to, in whatever batches, across restarts, and when they lie."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import SUSPENSION_REASON_APPROVAL, RunEvent
from astromesh.v1.runs_pb2 import Run
from astromesh.v1.session_events_pb2 import SessionEvent
from astromesh.v1.values_pb2 import Content, StoredValue
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import ProjectedCommit
from astromesh_core.bus.subjects import Aggregate, session_aggregate
from astromesh_core.errors import NotFound
from astromesh_core.events.chain import GENESIS, StoredEvent, seal
from astromesh_core.events.contents import text_content
from astromesh_core.events.identity import random_session
from astromesh_core.events.runs import fold
from astromesh_core.telemetry.metrics import Metrics
from astromesh_history import queries
from astromesh_history.alarms import Alarms
from astromesh_history.applying import Applier
from astromesh_history.chains import Chains
from astromesh_history.database import FILE, Database
from astromesh_history.objects import Objects
from astromesh_history.open_runs import open_runs_of
from astromesh_history.projector import Projector
from astromesh_testing.commits import begun, completed, new_run, requested

Body = RunEvent | SessionEvent


class NoValues:
    """An object store that is empty."""

    async def get(self, value: StoredValue) -> bytes:
        raise NotFound(f"no value {value.sha256.hex()}")


class ReadModel:
    """An open read model and what feeds it."""

    def __init__(self, database: Database, projector: Projector, alarms: Alarms, metrics: Metrics) -> None:
        self.database = database
        self.projector = projector
        self.alarms = alarms
        self.metrics = metrics

    async def feed(self, commits: Sequence[ProjectedCommit]) -> None:
        await self.projector.handle(commits)
        await self.projector.settle()

    def alarmed(self, kind: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "astromesh_log_alarms_total", {"projection": "history", "reason": kind}
        )
        return value or 0.0


@asynccontextmanager
async def read_model(folder: Path) -> AsyncGenerator[ReadModel]:
    """Opens the read model as the service does, without a log."""
    database = await Database.open(folder)
    metrics = Metrics()
    alarms, objects = Alarms(metrics), Objects(database, NoValues())
    chains = Chains(database, await database.call(queries.next_number))
    stored = await database.call(queries.reached)
    reached = Position.decode(stored) if stored else Position.START
    async with Projector(database, chains, Applier(chains, objects, alarms), reached) as projector:
        yield ReadModel(database, projector, alarms, metrics)
    await database.aclose()


def stored(aggregate: Aggregate, bodies: Sequence[Body], *, time: int = 1) -> list[StoredEvent]:
    """The events of an aggregate, in a chain."""
    head, events = GENESIS, list[StoredEvent]()
    for body in bodies:
        envelope = Envelope(
            event_id=secrets.token_hex(16),
            aggregate_type=aggregate.type,
            aggregate_id=aggregate.id,
            namespace=aggregate.namespace,
            time_unix_nano=time + head.next_index,
        )
        if isinstance(body, RunEvent):
            envelope.run.CopyFrom(body)
        else:
            envelope.session.CopyFrom(body)
        data, head = seal(envelope, head)
        events.append(StoredEvent(Envelope.FromString(data), data))
    return events


def suspended() -> RunEvent:
    event = RunEvent()
    event.suspended.reason = SUSPENSION_REASON_APPROVAL
    return event


def replied(rng: random.Random) -> RunEvent:
    """A call that a candidate broke off before another one answered."""
    event = RunEvent()
    event.model_replied.path = "1"
    event.model_replied.timing.start_unix_nano = rng.randrange(1 << 40)
    for charge in (event.model_replied.charge, event.model_replied.partial_charges.add()):
        charge.model, charge.cost_nanos, charge.usage.input_tokens = "m", rng.randrange(100), rng.randrange(100)
    return event


def cleared() -> SessionEvent:
    event = SessionEvent()
    event.cleared.SetInParent()
    return event


def random_log(seed: int, runs: int = 12) -> tuple[list[ProjectedCommit], dict[str, list[StoredEvent]]]:
    """A log of runs and sessions, interleaved commit by commit."""
    rng = random.Random(seed)
    waiting: list[list[tuple[Aggregate, list[StoredEvent]]]] = []
    whole: dict[str, list[StoredEvent]] = {}
    for _ in range(runs):
        aggregate: Aggregate = new_run() if rng.random() < 0.8 else session_aggregate("default", random_session())
        middle: list[Body] = [rng.choice([begun(str(n)), suspended(), replied(rng)]) for n in range(rng.randrange(6))]
        end: list[Body] = [completed(f"answer {rng.random()}")] if rng.random() < 0.7 else []
        run: list[Body] = [requested(f"question {rng.random()}"), *middle, *end]
        events = stored(aggregate, run if aggregate.is_run else [cleared()] * (1 + len(middle)))
        whole[aggregate.id] = events
        cuts = sorted({0, len(events), *(rng.randrange(len(events) + 1) for _ in range(3))})
        waiting.append([(aggregate, events[a:b]) for a, b in pairwise(cuts)])
    log: list[ProjectedCommit] = []
    while waiting := [commits for commits in waiting if commits]:
        aggregate, events = rng.choice(waiting).pop(0)
        log.append(ProjectedCommit(aggregate, events, Position(len(log) + 1)))
    return log, whole


def rows(folder: Path) -> list[object]:
    """Everything that the file says, but for numbers, which count first sights."""
    connection = sqlite3.connect(folder / FILE)
    found = [
        *connection.execute(
            "SELECT namespace, id, type, next_index, sha256, folded, agent, session_key, status, requested "
            "FROM aggregates ORDER BY id"
        ),
        *connection.execute(
            "SELECT namespace, time, at, path, agent, model, input, estimated, cost FROM charges ORDER BY time, number"
        ),
        *connection.execute("SELECT query, answer FROM texts ORDER BY query, answer"),
        *connection.execute("SELECT position FROM reached"),
        *connection.execute("SELECT * FROM objects"),
    ]
    connection.close()
    return found


async def events_of(model: ReadModel, aggregate_id: str) -> list[bytes] | None:
    return await model.database.call(queries.stored_events, "default", aggregate_id, 0, 1000, 1 << 20)


@pytest.mark.parametrize("seed", range(8))
async def test_a_rebuilt_read_model_equals_one_kept_through_restarts_and_repeats(tmp_path: Path, seed: int) -> None:
    log, whole = random_log(seed)
    rng = random.Random(seed)
    kept, rebuilt = tmp_path / "kept", tmp_path / "rebuilt"
    at = 0
    while at < len(log):
        async with read_model(kept) as model:
            # A restart reads again from where the last one came, and here from a little before that.
            start, at = max(0, at - rng.randrange(3)), min(len(log), at + rng.randrange(1, 9))
            for commit in log[start:at]:
                await model.projector.handle([commit])
            assert (await model.alarms.health()).ok
    async with read_model(rebuilt) as model:
        await model.feed(log)
        for aggregate_id, events in whole.items():
            if aggregate_id[2] == "-":
                assert await events_of(model, aggregate_id) == [event.data for event in events]
                found = await model.database.call(queries.one_run, "default", aggregate_id)
                assert Run.FromString(found or b"") == fold(event.envelope for event in events)
    assert rows(kept) == rows(rebuilt)


async def test_tampered_bytes_raise_the_alarm_and_reading_goes_on(tmp_path: Path) -> None:
    run = new_run()
    events = stored(run, [requested("pay 10"), begun(), completed()])
    forged = Envelope.FromString(events[1].data)
    forged.run.model_call_begun.path = "9"
    events[1] = StoredEvent(forged, forged.SerializeToString())
    other = stored(behind := new_run(), [requested()])
    async with read_model(tmp_path) as model:
        await model.feed([ProjectedCommit(run, events, Position(1)), ProjectedCommit(behind, other, Position(2))])
        health = await model.alarms.health()
        assert model.alarmed("broken-chain") == 1
        assert not health.ok
        assert f"{run.id}:2" in health.reason
        assert await events_of(model, behind.id) == [other[0].data]


async def test_a_missing_event_raises_the_alarm_across_a_restart(tmp_path: Path) -> None:
    run = new_run()
    events = stored(run, [requested(), begun("1"), begun("2"), completed()])
    async with read_model(tmp_path) as model:
        await model.feed([ProjectedCommit(run, events[:2], Position(1))])
    async with read_model(tmp_path) as model:
        await model.feed([ProjectedCommit(run, events[3:], Position(2))])
        assert model.alarmed("gap") == 1
        assert "events 2 to 2 are missing" in (await model.alarms.health()).reason
        assert await events_of(model, run.id) == [event.data for event in (*events[:2], events[3])]


async def test_a_second_event_with_a_known_index_raises_the_alarm(tmp_path: Path) -> None:
    run = new_run()
    first, second = stored(run, [requested(), completed("yes")]), stored(run, [requested(), completed("no")])
    async with read_model(tmp_path) as model:
        await model.feed([ProjectedCommit(run, first, Position(1))])
        await model.feed([ProjectedCommit(run, second, Position(2))])
        assert model.alarmed("broken-chain") == 2
        assert await events_of(model, run.id) == [event.data for event in first]


async def test_an_event_of_another_aggregate_raises_the_alarm(tmp_path: Path) -> None:
    run, other = new_run(), new_run()
    async with read_model(tmp_path) as model:
        await model.feed([ProjectedCommit(run, stored(other, [requested()]), Position(1))])
        assert model.alarmed("broken-chain") == 1


async def test_a_value_that_the_store_lost_raises_the_alarm(tmp_path: Path) -> None:
    question = requested()
    reference = StoredValue(sha256=secrets.token_bytes(32), size_bytes=900_000)
    question.requested.query.CopyFrom(Content(stored=reference))
    run = new_run()
    async with read_model(tmp_path) as model:
        await model.feed([ProjectedCommit(run, stored(run, [question, completed()]), Position(1))])
        assert model.alarmed("missing-object") == 1


async def test_the_whole_of_a_result_that_was_cut_is_copied_too(tmp_path: Path) -> None:
    cut = RunEvent()
    cut.tool_succeeded.result.whole.CopyFrom(StoredValue(sha256=secrets.token_bytes(32), size_bytes=2**40))
    run = new_run()
    async with read_model(tmp_path) as model:
        await model.feed([ProjectedCommit(run, stored(run, [requested(), cut]), Position(1))])
        assert model.alarmed("missing-object") == 1


async def test_an_event_that_cannot_be_folded_raises_the_alarm(tmp_path: Path) -> None:
    strange = RunEvent()
    strange.suspended.reason = 77  # pyright: ignore[reportAttributeAccessIssue] - a reason of a later release
    run = new_run()
    async with read_model(tmp_path) as model:
        await model.feed([ProjectedCommit(run, stored(run, [requested(), strange, completed()]), Position(1))])
        assert model.alarmed("unreadable") == 1
        found = await model.database.call(queries.one_run, "default", run.id)
        assert Run.FromString(found or b"").answer == text_content("hello")


async def test_a_file_that_is_no_database_is_put_aside_and_built_again(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"rubbish" * 1000)
    run = new_run()
    async with read_model(tmp_path) as model:
        await model.feed([ProjectedCommit(run, stored(run, [requested()]), Position(1))])
        assert await events_of(model, run.id)
    assert any(name.startswith(f"{FILE}.aside-") for name in os.listdir(tmp_path))


async def test_a_file_of_another_version_is_put_aside_and_built_again(tmp_path: Path) -> None:
    def outdate(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA user_version = 1")

    log, _ = random_log(1)
    async with read_model(tmp_path) as model:
        await model.feed(log)
        await model.database.call(outdate)
    before = rows(tmp_path)
    async with read_model(tmp_path) as model:
        assert await model.database.call(queries.reached) is None
        await model.feed(log)
    assert rows(tmp_path) == before


async def test_commits_wait_while_too_many_are_unwritten(tmp_path: Path) -> None:
    run = new_run()
    commits = [ProjectedCommit(new_run(), [], Position(1))] * 4_001
    async with read_model(tmp_path) as model:
        waiting = asyncio.create_task(model.projector.handle(commits))
        await asyncio.sleep(0)
        assert not waiting.done()
        await waiting
        await model.feed([ProjectedCommit(run, stored(run, [requested()]), Position(2))])
        assert await events_of(model, run.id)


async def test_a_full_disk_makes_it_wait_and_lose_nothing(tmp_path: Path) -> None:
    def limit(connection: sqlite3.Connection, pages: int) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    run = new_run()
    async with read_model(tmp_path) as model:
        await model.database.call(limit, 1)
        await model.projector.handle([ProjectedCommit(run, stored(run, [requested("x" * 40_000)]), Position(1))])
        async with asyncio.timeout(5):
            while (await model.projector.health()).ok:  # noqa: ASYNC110 - the projector tells nobody but readiness
                await asyncio.sleep(0.01)
        assert "full" in (await model.projector.health()).reason
        await model.database.call(limit, 1_000_000)
        await model.projector.settle()
        assert (await model.projector.health()).ok
        assert await events_of(model, run.id)


async def test_a_persons_runs_are_found_until_they_end(tmp_path: Path) -> None:
    def of(person: str, *rest: RunEvent, namespace: str = "default") -> ProjectedCommit:
        begins, aggregate = requested(), new_run(namespace)
        begins.requested.user_key, begins.requested.session_key = person, random_session()
        return ProjectedCommit(aggregate, stored(aggregate, [begins, *rest], time=5), Position(1))

    working, waiting = of("ada", begun()), of("ada", begun(), suspended())
    others = [of("bob", begun()), of(""), of("ada", completed()), of("ada", namespace="other")]
    async with read_model(tmp_path) as model:
        await model.feed([working, waiting, *others])
        found = await model.database.call(open_runs_of, "default", "ada", 5)
        assert {run.run_id for run in found} == {working.aggregate.id, waiting.aggregate.id}
        assert found[0].session_key == working.events[0].envelope.run.requested.session_key
        assert await model.database.call(open_runs_of, "default", "ada", 4) == []
