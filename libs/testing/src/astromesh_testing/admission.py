"""Admits runs as a gateway does, and reads what became of them."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from contextlib import aclosing

from astromesh.v1.control_pb2 import MANAGED_BY_API, ResourceRecord
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import RunEvent, RunRequested
from astromesh.v1.runs_pb2 import Run
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate, run_aggregate
from astromesh_core.events.chain import GENESIS, StoredEvent, build_commit, seal
from astromesh_core.events.contents import text_content
from astromesh_core.events.identity import MeshKey, random_run_id, random_session, session_key
from astromesh_core.events.runs import fold

KEY = MeshKey(b"a key for tests, 32 bytes long..")


async def put_agent(bus: Bus, name: str = "agent", **spec: object) -> ResourceRef:
    """Stores an agent with a fake model and these parts of a spec; answers the version."""
    whole = {"model": {"primary": {"provider": "extractive", "model": "fake"}}, **spec}
    ref = ResourceRef(kind="Agent", namespace="default", name=name)
    record = ResourceRecord(ref=ref, managed_by=MANAGED_BY_API, spec_json=json.dumps(whole))
    return (await bus.resources.put(record)).ref


async def admit(
    bus: Bus, query: str = "what is it?", *, agent: str = "agent", session: str = "", **more: object
) -> Aggregate:
    """Appends `requested` as a gateway would; answers the run."""
    named = session or random_session()
    key = session_key(KEY, "default", agent, named)
    requested = RunRequested(
        agent=agent,
        session_key=key,
        session_id=text_content(named),
        query=text_content(query),
        principal="tester",
        digest_key=text_content(base64.b64encode(secrets.token_bytes(16)).decode()),
        uses_memory=True,
        private_session=not session,
    )
    requested.MergeFrom(RunRequested(**more))  # pyright: ignore[reportArgumentType]  # fields by name, checked by protobuf
    aggregate = run_aggregate("default", random_run_id(key))
    envelope = Envelope(
        event_id=secrets.token_hex(16),
        aggregate_type=aggregate.type,
        aggregate_id=aggregate.id,
        time_unix_nano=time.time_ns(),
        namespace="default",
        run=RunEvent(requested=requested),
    )
    data, _ = seal(envelope, GENESIS)
    await bus.log.append(aggregate.requested, aggregate, build_commit([data]), Position.START)
    return aggregate


async def events_until(bus: Bus, aggregate: Aggregate, *kinds: str, seconds: float = 20.0) -> list[StoredEvent]:
    """The run's events up to the first of these kinds, or up to its end."""
    seen = list[StoredEvent]()
    async with asyncio.timeout(seconds), aclosing(bus.log.follow(aggregate)) as events:
        async for event in events:
            seen.append(event)
            if event.envelope.run.WhichOneof("event") in kinds:
                break
    return seen


async def ended(bus: Bus, aggregate: Aggregate, *, seconds: float = 20.0) -> Run:
    """The run, when it has ended."""
    return fold(event.envelope for event in await events_until(bus, aggregate, seconds=seconds))


def kinds(events: list[StoredEvent]) -> list[str]:
    """What happened, in order."""
    return [event.envelope.run.WhichOneof("event") or "" for event in events]
