"""Every stream and bucket, with its settings and why, and how they are declared to a server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RePublish, RetentionPolicy, StorageType, StreamConfig

from astromesh_core.errors import Conflict, Unavailable

RUNS = "RUNS"
SIGNALS = "SIGNALS"
INGESTIONS = "INGESTIONS"
OBSERVATIONS = "OBSERVATIONS"
DEAD = "DEAD"
VALUES = "VALUES"

RESOURCES = "resources"
STATUS = "status"
PARTITIONS = "partitions"
WORKERS = "workers"
ENDPOINTS = "endpoints"
BUDGETS = "budgets"
INGESTING = "ingesting"

WORKER_TTL_SECONDS = 3
"""A worker that renewed nothing for this long is dead."""

_DAY = 86_400.0
_NAME_IN_USE = 10058
_DEDUPLICATION_SECONDS = 120.0


def bucket_stream(bucket: str) -> str:
    """The stream that holds a KV bucket."""
    return f"KV_{bucket}"


def stream_configs() -> tuple[StreamConfig, ...]:
    """All streams and buckets as a single server holds them (one replica)."""
    # Bounded by number: a bound in bytes is reserved on the disk from the start.
    short_lived = replace(_stream(DEAD, "dead.>"), discard=DiscardPolicy.OLD, max_msgs=100_000, max_age=30 * _DAY)
    return (
        # Nothing may ever leave this stream: no age, no size, no rollup, no TTL; a full store refuses appends.
        replace(_stream(RUNS, "mesh.*.run.>", "mesh.*.session.>"), republish=RePublish("mesh.>", "live.mesh.>")),
        # No limit, so nothing is discarded; a stream with schedules may not be told to refuse new messages.
        replace(
            _stream(SIGNALS, "mesh.*.signal.>", "mesh.*.timer.>"),
            discard=DiscardPolicy.OLD,
            allow_msg_schedules=True,
            allow_msg_ttl=True,
        ),
        # What pipelines took in. What they hold stands in their stores: this tells how it came there, for a while.
        replace(_stream(INGESTIONS, "mesh.*.ingestion.>"), max_age=90 * _DAY),
        # What services observed is folded into status at once: of each resource, only the last observation is of use.
        replace(short_lived, name=OBSERVATIONS, subjects=["observation.>"], max_age=_DAY, max_msgs_per_subject=1),
        short_lived,
        # Written once: the subject is the hash of the content, and a second message on a subject is refused.
        replace(_stream(VALUES, "values.>"), max_msgs_per_subject=1, discard_new_per_subject=True),
        _bucket(RESOURCES, history=5),
        _bucket(STATUS, history=1),
        _bucket(PARTITIONS, history=1),
        # Heartbeats. On file, because a bucket in memory is gone with the server: then every worker would look dead at
        # once, while their leases still run. No marker for an expired key, which would stand in the way of its owner.
        _bucket(WORKERS, history=1),
        # What is known of model servers outlives a restart of the bus, so that nobody has to fail at them anew.
        _bucket(ENDPOINTS, history=1),
        # What budgets have left. Each record ends by itself some days after the window that it is of.
        _bucket(BUDGETS, history=1),
        # Who ingests which pipeline now, and up to when schedules are dealt with.
        _bucket(INGESTING, history=1),
    )


def _stream(name: str, *subjects: str) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=list(subjects),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        allow_direct=True,
        allow_rollup_hdrs=False,
        duplicate_window=_DEDUPLICATION_SECONDS,
        num_replicas=1,
    )


def _bucket(name: str, *, history: int) -> StreamConfig:
    return StreamConfig(
        name=bucket_stream(name),
        subjects=[f"$KV.{name}.>"],
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs_per_subject=history,
        allow_direct=True,
        allow_rollup_hdrs=True,
        allow_msg_ttl=True,
        deny_delete=True,
        duplicate_window=_DEDUPLICATION_SECONDS,
        num_replicas=1,
    )


async def declare(js: JetStreamContext, replicas: int = 1) -> None:
    """Creates what is missing and brings the settings of the rest up to date; RUNS is never changed once it exists.

    Idempotent. Needs the admin's credentials. Raises Conflict where RUNS exists with other settings, Unavailable where
    the server has no JetStream.
    """
    await asyncio.gather(*(_declare_one(js, replace(config, num_replicas=replicas)) for config in stream_configs()))


async def _declare_one(js: JetStreamContext, config: StreamConfig) -> None:
    try:
        await js.add_stream(config)  # pyright: ignore[reportUnknownMemberType] - nats-py leaves **params untyped
    except nats.js.errors.APIError as error:
        if error.err_code != _NAME_IN_USE:
            raise Unavailable(f"stream {config.name} cannot be declared: {error.description}") from error
        if config.name == RUNS:
            raise Conflict("stream RUNS exists with other settings than this version declares") from error
        await js.update_stream(config)  # pyright: ignore[reportUnknownMemberType] - nats-py leaves **params untyped
    except nats.errors.Error as error:
        raise Unavailable(f"stream {config.name} cannot be declared: {error}") from error
