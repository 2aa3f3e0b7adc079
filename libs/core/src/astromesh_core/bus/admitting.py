"""The first event of a run in its log: what a gateway does for a caller, and a run's owner for its children."""

from __future__ import annotations

import secrets

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import RunEvent, RunRequested
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.offload import COMMIT_BYTES, commit_bytes, offload
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.bus.values import ValueStore
from astromesh_core.errors import LimitExceeded
from astromesh_core.events.chain import GENESIS, build_commit, seal


async def append_request(
    log: EventLog,
    values: ValueStore,
    aggregate: Aggregate,
    requested: RunRequested,
    *,
    time_unix_nano: int,
    producer: str,
    traceparent: str,
) -> None:
    """Stores `requested` as the run's event 0; returns when it is on disk. Its large contents go to the object store.

    Raises AppendConflict where the run exists, LimitExceeded, StoreFull. Cancelled, it may have been stored.
    """
    envelope = Envelope(
        event_id=secrets.token_hex(16),
        aggregate_type=aggregate.type,
        aggregate_id=aggregate.id,
        time_unix_nano=time_unix_nano,
        producer=producer,
        traceparent=traceparent,
        namespace=aggregate.namespace,
        run=RunEvent(requested=requested),
    )
    if commit_bytes([envelope]) > COMMIT_BYTES:
        await offload([envelope], values)
        if commit_bytes([envelope]) > COMMIT_BYTES:
            raise LimitExceeded(f"the request has more than {COMMIT_BYTES} bytes beside its texts")
    data, _ = seal(envelope, GENESIS)
    await log.append(aggregate.requested, aggregate, build_commit([data]), Position.START)
