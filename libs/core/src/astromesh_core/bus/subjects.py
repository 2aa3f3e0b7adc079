"""Every subject of the mesh. Nothing else composes one; a namespace and an id that stand in a subject are checked here.

mesh.{ns}.run.{pp}.{run_id}.requested | .log     stream RUNS; stored ones are repeated under live.
mesh.{ns}.session.{pp}.{session_key}.log         stream RUNS
mesh.{ns}.ingestion.{pipeline}.{kind}.{id}.log   stream INGESTIONS
mesh.{ns}.signal.{pp}.{aggregate_id}             stream SIGNALS
mesh.{ns}.timer.{pp}.{run_id}.{path}             stream SIGNALS: schedules whose target is the run's signal subject
observation.{service}.{kind}.{ns}.{name}         stream OBSERVATIONS: the last one of each
dead.{service}.{consumer}                        stream DEAD
values.{sha256}.{chunk}                          stream VALUES: the object store
delta.{ns}.{pp}.{run_id}                         core NATS: pieces of replies
load.{worker}                                    core NATS: what workers tell of their load
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from astromesh.v1.envelope_pb2 import (
    AGGREGATE_TYPE_INGESTION,
    AGGREGATE_TYPE_RUN,
    AGGREGATE_TYPE_SESSION,
    AggregateType,
)
from astromesh_core.errors import InvalidInput
from astromesh_core.events.identity import check_namespace, partition_of, partition_of_run

LIVE = "live."
ALL_DELTAS = "delta.>"
ALL_LOADS = "load.*"

_SESSION_KEY = re.compile(r"[a-z2-7]{26}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_PATH = re.compile(r"[0-9]+(\.[0-9]+)*")


class Aggregate(NamedTuple):
    """One chain of events with one writer: a run, a session, an ingestion. Build it with a function of this module."""

    type: AggregateType.ValueType
    namespace: str
    partition: int
    id: str

    @property
    def is_run(self) -> bool:
        """False for a session."""
        return self.type == AGGREGATE_TYPE_RUN

    @property
    def requested(self) -> str:
        """Where the event at index 0 of a run goes."""
        return f"{self._root}.requested"

    @property
    def log(self) -> str:
        """Where every later event goes."""
        return f"{self._root}.log"

    @property
    def filter(self) -> str:
        """All of the aggregate's messages, and no other's."""
        return f"{self._root}.>"

    @property
    def live(self) -> str:
        """Stored messages of the aggregate as they are stored, at most once each."""
        return f"{LIVE}{self._root}.>"

    @property
    def _root(self) -> str:
        return _root_of(self)


@lru_cache(maxsize=4096)
def _root_of(aggregate: Aggregate) -> str:
    # Asked for several times a commit, by its writer and by everyone who reads it.
    if aggregate.type == AGGREGATE_TYPE_INGESTION:
        return f"mesh.{aggregate.namespace}.ingestion.{aggregate.id}"
    kind = "run" if aggregate.is_run else "session"
    return f"mesh.{aggregate.namespace}.{kind}.{aggregate.partition:02d}.{aggregate.id}"


def run_aggregate(namespace: str, run_id: str) -> Aggregate:
    """The run's aggregate. Raises InvalidInput where the namespace or the id is none."""
    return Aggregate(AGGREGATE_TYPE_RUN, check_namespace(namespace), partition_of_run(run_id), run_id)


def session_aggregate(namespace: str, session_key: str) -> Aggregate:
    """The session's aggregate. Raises InvalidInput where the namespace or the key is none."""
    if not _SESSION_KEY.fullmatch(session_key):
        raise InvalidInput(f"{session_key[:80]!r} is not a session key: expected 26 characters of a-z2-7")
    return Aggregate(AGGREGATE_TYPE_SESSION, check_namespace(namespace), partition_of(session_key), session_key)


def ingestion_aggregate(namespace: str, pipeline: str, ingestion: str, *, given: bool) -> Aggregate:
    """The aggregate of a pipeline's ingestion: of its sources, or of documents given. Raises InvalidInput."""
    kind = "given" if given else "sources"
    name = f"{pipeline_token(pipeline)}.{kind}.{_token(ingestion)}"
    return Aggregate(AGGREGATE_TYPE_INGESTION, check_namespace(namespace), 0, name)


def ingestion_filter(namespace: str, pipeline: str, *, kind: str = "*", ingestion: str | None = None) -> str:
    """Every event of a pipeline's ingestions, or of those of a kind (`sources`, `given`), or of one.

    Raises InvalidInput for a name that is none: `*`, too, stands for no ingestion.
    """
    one = "*" if ingestion is None else _token(ingestion)
    return f"mesh.{check_namespace(namespace)}.ingestion.{pipeline_token(pipeline)}.{kind}.{one}.log"


def pipeline_token(pipeline: str) -> str:
    """A pipeline's name as one token: a dot in it would part a subject. Raises InvalidInput where it is no name."""
    _token(pipeline.replace(".", "_"))
    return pipeline.replace(".", "=")


def aggregate_of(namespace: str, aggregate_id: str) -> Aggregate:
    """The aggregate of an id that may be a run's or a session's. Raises InvalidInput for neither."""
    if "-" in aggregate_id:
        return run_aggregate(namespace, aggregate_id)
    return session_aggregate(namespace, aggregate_id)


def aggregate_of_subject(subject: str) -> Aggregate:
    """The aggregate that a message in RUNS, SIGNALS or under `live.` belongs to. Raises InvalidInput for other ones."""
    tokens = subject.removeprefix(LIVE).split(".")
    if len(tokens) < 5 or tokens[0] != "mesh":
        raise InvalidInput(f"{subject[:120]!r} names no aggregate")
    return aggregate_of(tokens[1], tokens[4])


def partition_of_subject(subject: str) -> int:
    """The partition that stands in a subject of RUNS or SIGNALS. Quick: checks nothing."""
    return int(subject.split(".", 4)[3])


def signal_subject(namespace: str, aggregate_id: str) -> str:
    """Where a signal to the run or session goes."""
    aggregate = aggregate_of(namespace, aggregate_id)
    return f"mesh.{aggregate.namespace}.signal.{aggregate.partition:02d}.{aggregate.id}"


def timer_subject(namespace: str, run_id: str, path: str) -> str:
    """Where the schedule of the run's timer at an effect path lies. Raises InvalidInput where the path is none."""
    if not _PATH.fullmatch(path):
        raise InvalidInput(f"{path[:80]!r} is not an effect path")
    aggregate = run_aggregate(namespace, run_id)
    return f"mesh.{aggregate.namespace}.timer.{aggregate.partition:02d}.{aggregate.id}.{path}"


def delta_subject(namespace: str, partition: int, run_id: str) -> str:
    """Where the pieces of a run's replies go as they come."""
    return f"delta.{namespace}.{partition:02d}.{run_id}"


def tool_progress_subject(namespace: str, partition: int, run_id: str) -> str:
    """Where it is told how far a run's tools have come."""
    return f"progress.{namespace}.{partition:02d}.{run_id}"


def observation_subject(service: str, key: str) -> str:
    """Where a service tells what it observed of the resource with this key (`records.key_of`)."""
    return f"observation.{_token(service)}.{key}"


def dead_letter_subject(service: str, consumer: str) -> str:
    """Where a service puts what its consumer could not handle."""
    return f"dead.{_token(service)}.{_token(consumer)}"


def value_subject(sha256: str, chunk: int) -> str:
    """Where a chunk of the value with this hash lies."""
    return f"values.{sha256}.{chunk}"


def load_subject(worker: str) -> str:
    """Where a worker tells its load."""
    return f"load.{_token(worker)}"


def requested_filter(partition: int) -> str:
    """All admitted runs of a partition, in every namespace."""
    return f"mesh.*.run.{partition:02d}.*.requested"


def signal_filter(partition: int) -> str:
    """All signals to a partition, in every namespace."""
    return f"mesh.*.signal.{partition:02d}.*"


def _token(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} cannot stand in a subject (A-Z, a-z, 0-9, _ and -)")
    return name
