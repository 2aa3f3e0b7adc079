"""What each service may publish, subscribe to and read. Everything not listed is refused by the server.

Nobody, not even the admin, may purge, delete, update or roll up RUNS: no list here names those requests, and the admin,
who declares streams, is denied them by name. Reading a stream by consumer lets the server deliver to a subject of the
reader's choice, so each service may only consume what it needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from astromesh_core.bus.streams import (
    BUDGETS,
    DEAD,
    ENDPOINTS,
    INGESTING,
    INGESTIONS,
    OBSERVATIONS,
    PARTITIONS,
    RESOURCES,
    RUNS,
    SIGNALS,
    STATUS,
    VALUES,
    WORKERS,
    bucket_stream,
)

ADMIN = "admin"
"""Declares the streams when the launcher starts, and does nothing else."""

MESH = "mesh"
"""Every service in one process: all their permissions together."""

_EVERYONE_READS = (bucket_stream(RESOURCES), bucket_stream(STATUS), VALUES)


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects a user may publish and subscribe to; a denial outweighs."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    deny_publish: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Grant:
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    """Streams read beyond those that everyone reads."""
    buckets: tuple[str, ...] = field(default=())
    """KV buckets written, and so read too."""


_GRANTS: dict[str, _Grant] = {
    "gateway": _Grant(
        publish=("mesh.*.run.*.*.requested", "mesh.*.signal.>", "values.>"),
        subscribe=("live.mesh.>", "delta.>", "progress.>", "load.*"),
        read=(RUNS, bucket_stream(WORKERS), bucket_stream(PARTITIONS)),
        buckets=(RESOURCES,),
    ),
    "runtime": _Grant(
        publish=(
            "mesh.*.run.>",
            "mesh.*.session.>",
            "mesh.*.signal.>",
            "mesh.*.timer.>",
            "values.>",
            "delta.>",
            "load.*",
        ),
        # Records and heartbeats are heard as they are written, so that a change of owner takes milliseconds.
        subscribe=("live.mesh.>", f"$KV.{PARTITIONS}.partition.*", f"$KV.{WORKERS}.*"),
        read=(RUNS, SIGNALS),
        buckets=(PARTITIONS, WORKERS),
    ),
    "router": _Grant(buckets=(BUDGETS, ENDPOINTS)),
    "memory": _Grant(publish=("mesh.*.signal.>",), subscribe=("live.mesh.>",), read=(RUNS,)),
    "tools": _Grant(publish=("values.>", "progress.>")),
    "guardrails": _Grant(),
    "rag": _Grant(publish=("mesh.*.ingestion.>",), read=(INGESTIONS,), buckets=(INGESTING,)),
    "history": _Grant(subscribe=("live.mesh.>",), read=(RUNS, DEAD)),
    "operator": _Grant(publish=("values.>",), read=(OBSERVATIONS, DEAD), buckets=(RESOURCES, STATUS)),
}

SERVICES = tuple(_GRANTS)
USERS = (*SERVICES, MESH, ADMIN)


def permissions_of(user: str) -> Permissions:
    """The permissions of a service, of MESH or of ADMIN. Raises KeyError for another."""
    if user == ADMIN:
        return _admin()
    services = SERVICES if user == MESH else (user,)
    grants = [(service, _GRANTS[service]) for service in services]
    publish = [subject for service, grant in grants for subject in _published(service, grant)]
    publish += _told(user)
    subscribe = (subject for _, grant in grants for subject in grant.subscribe)
    return Permissions(_unique(publish), _unique((*subscribe, f"{inbox_of(user)}.>")))


def inbox_of(user: str) -> str:
    """The prefix of the user's reply subjects: nobody else hears answers to it."""
    return f"_INBOX_{user}"


def _admin() -> Permissions:
    untouchable = tuple(f"$JS.API.STREAM.{verb}.{RUNS}" for verb in ("PURGE", "DELETE", "UPDATE", "MSG.DELETE"))
    allowed = ("$JS.API.INFO", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*", "$JS.API.STREAM.INFO.*")
    return Permissions(allowed, (f"{inbox_of(ADMIN)}.>",), untouchable)


def _published(service: str, grant: _Grant) -> Iterable[str]:
    yield "$JS.API.INFO"
    yield from _told(service)
    yield from grant.publish
    for bucket in grant.buckets:
        yield f"$KV.{bucket}.>"
    for stream in (*_EVERYONE_READS, *grant.read, *(bucket_stream(bucket) for bucket in grant.buckets)):
        yield from _reading(stream)


def _told(user: str) -> tuple[str, ...]:
    """What a user says in its own name."""
    return f"observation.{user}.>", f"dead.{user}.*"


def _reading(stream: str) -> Iterable[str]:
    yield f"$JS.API.STREAM.INFO.{stream}"
    yield f"$JS.API.STREAM.MSG.GET.{stream}"
    yield f"$JS.API.DIRECT.GET.{stream}"
    yield f"$JS.API.DIRECT.GET.{stream}.>"
    for verb in ("CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT"):
        yield f"$JS.API.CONSUMER.{verb}.{stream}.>"
    yield f"$JS.API.CONSUMER.CREATE.{stream}"
    yield f"$JS.API.CONSUMER.NAMES.{stream}"
    yield f"$JS.API.CONSUMER.LIST.{stream}"
    yield f"$JS.ACK.{stream}.>"
    yield f"$JS.FC.{stream}.>"


def _unique(subjects: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(subjects))
