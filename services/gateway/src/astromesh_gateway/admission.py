"""From a request to a run: its ids, its first event, and that event in the log once. What comes after: `following`."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
from pydantic import JsonValue

from astromesh.v1.run_events_pb2 import SURFACE_HTTP, RunRequested, Surface
from astromesh.v1.values_pb2 import Image, Message
from astromesh_core.answers import answer_schema
from astromesh_core.bus.admitting import append_request
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.log import AppendConflict
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate, run_aggregate
from astromesh_core.errors import AstromeshError, Bug, Conflict, InvalidInput
from astromesh_core.events.contents import text_content
from astromesh_core.events.identity import (
    MeshKey,
    derived_session,
    random_run_id,
    random_session,
    request_mac,
    run_id,
    session_key,
    user_key,
)
from astromesh_core.rpc.identity import Caller
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_gateway.capacity import Capacity
from astromesh_gateway.directory import Directory
from astromesh_gateway.images import check_images

MAX_KEY_CHARACTERS = 255
"""Of an idempotency key."""

MAX_NAME_CHARACTERS = 512
"""Of a session's and of a user's name."""

_DIGEST_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class AskedRun:
    """What a caller asks for, on whichever surface."""

    caller: Caller
    agent: str
    query: str
    session_id: str = ""
    """Empty: a new private session."""
    user: str = ""
    context: dict[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    idempotency_key: str = ""
    surface: Surface.ValueType = SURFACE_HTTP
    cancel_on_disconnect: bool = False
    images: tuple[Image, ...] = ()
    """Pictures that go with the query."""
    output_schema_json: str = ""
    """JSON Schema that the answer has to match; empty: the agent's own, if it has one."""
    transcript: tuple[Message, ...] = ()
    """Turns before the query that the caller brought."""
    uses_memory: bool = True
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run that is about to be admitted: everything but its first event's place in the log is settled."""

    aggregate: Aggregate
    session_id: str
    event: RunRequested
    traceparent: str

    @property
    def run_id(self) -> str:
        """Given out to the caller."""
        return self.aggregate.id

    @property
    def namespace(self) -> str:
        """Of the caller and the agent."""
        return self.aggregate.namespace


class Admission:
    """Admits runs. Safe for any number of concurrent callers, and for any number of gateways."""

    def __init__(
        self,
        bus: Bus,
        directory: Directory,
        capacity: Capacity,
        key: MeshKey,
        producer: str,
        telemetry: Telemetry,
        clock: Callable[[], int],
    ) -> None:
        self._log = bus.log
        self._values = bus.values
        self._directory = directory
        self._capacity = capacity
        self._key = key
        self._producer = producer
        self._telemetry = telemetry
        self._metrics = telemetry.metrics
        self._clock = clock

    def prepare(self, asked: AskedRun) -> PreparedRun:
        """Settles who the run is. Stores nothing and waits for nothing.

        Raises InvalidInput, NotFound, NotSupported or Conflict (agent not ready).
        """
        _check(asked)
        namespace, principal, agent = asked.caller.namespace, asked.caller.principal, asked.agent
        self._directory.agent(namespace, agent)
        session = asked.session_id or self._own_session(asked)
        key = session_key(self._key, namespace, agent, session)
        identity = (
            run_id(self._key, key, principal, asked.idempotency_key) if asked.idempotency_key else random_run_id(key)
        )
        event = RunRequested(
            agent=agent,
            session_key=key,
            session_id=text_content(session),
            query=text_content(asked.query),
            principal=principal,
            role=asked.caller.role,
            request_mac=request_mac(self._key, _body(asked)),
            digest_key=text_content(base64.b64encode(secrets.token_bytes(_DIGEST_KEY_BYTES)).decode()),
            transcript=asked.transcript,
            uses_memory=asked.uses_memory,
            surface=asked.surface,
            cancel_on_disconnect=asked.cancel_on_disconnect,
            private_session=not asked.session_id,
            images=asked.images,
            output_schema_json=asked.output_schema_json,
        )
        if asked.context:
            event.context.text = orjson.dumps(asked.context).decode()
        if asked.user:
            event.user.text = asked.user
            event.user_key = user_key(self._key, namespace, asked.user)
        return PreparedRun(run_aggregate(namespace, identity), session, event, asked.traceparent)

    async def admit(self, prepared: PreparedRun) -> bool:
        """Stores the run's first event; returns when it is on disk. True where the run is new, False for a retry of it.

        Raises RateLimited where the namespace is full, Conflict where another request used the idempotency key,
        Unavailable where the log is full. Cancelled, the run may have been admitted.
        """
        self._take_place(prepared)
        try:
            # What comes of the run, wherever, hangs on this span: its ids stand in the first event.
            with self._telemetry.span(f"admit {prepared.event.agent}", kind="producer") as span:
                await append_request(
                    self._log,
                    self._values,
                    prepared.aggregate,
                    prepared.event,
                    time_unix_nano=self._clock(),
                    producer=self._producer,
                    traceparent=span.traceparent,
                )
        except AppendConflict as conflict:
            self._capacity.give_back(prepared.namespace, prepared.run_id)
            await self._compare(prepared, conflict.position)
            return False
        except AstromeshError:
            self._capacity.give_back(prepared.namespace, prepared.run_id)
            raise
        self._metrics.runs_admitted.labels(self._metrics.agent(prepared.event.agent)).inc()
        return True

    def ended(self, prepared: PreparedRun) -> None:
        """The run is seen to have ended: its place is free before its worker tells so."""
        self._capacity.give_back(prepared.namespace, prepared.run_id)

    def _own_session(self, asked: AskedRun) -> str:
        if asked.idempotency_key:
            return derived_session(self._key, asked.caller.principal, asked.agent, asked.idempotency_key)
        return random_session()

    def _take_place(self, prepared: PreparedRun) -> None:
        try:
            self._capacity.take(prepared.namespace, prepared.run_id)
        except AstromeshError:
            self._metrics.runs_refused.labels(self._metrics.namespace(prepared.namespace)).inc()
            raise

    async def _compare(self, prepared: PreparedRun, position: Position) -> None:
        stored = await self._log.read(prepared.aggregate, at_least=position)
        if not stored.events:
            raise Bug(f"run {prepared.run_id} exists and cannot be read")
        if stored.events[0].envelope.run.requested.request_mac != prepared.event.request_mac:
            raise Conflict("this Idempotency-Key was used with another request; a new request needs a new key")


def _check(asked: AskedRun) -> None:
    if not asked.query.strip():
        raise EmptyQuery("query is empty: ask something")
    if len(asked.session_id) > MAX_NAME_CHARACTERS or len(asked.user) > MAX_NAME_CHARACTERS:
        raise InvalidInput(f"session_id and user may have {MAX_NAME_CHARACTERS} characters each")
    key = asked.idempotency_key
    if len(key) > MAX_KEY_CHARACTERS or not key.isprintable():
        raise InvalidInput(f"Idempotency-Key may have {MAX_KEY_CHARACTERS} printable characters")
    check_images([*asked.images, *(image for message in asked.transcript for image in message.images)])
    if asked.output_schema_json:
        try:
            answer_schema(asked.output_schema_json)
        except InvalidInput as error:
            raise InvalidInput(f"output_schema {error.message}") from None


class EmptyQuery(InvalidInput):
    """Nothing was asked."""


def _body(asked: AskedRun) -> bytes:
    """What makes a request this one and no other: its meaning, however its JSON was spelled."""
    transcript = hashlib.sha256(b"".join(message.SerializeToString(deterministic=True) for message in asked.transcript))
    parts = {
        "query": asked.query,
        "user": asked.user,
        "context": asked.context,
        "transcript": transcript.hexdigest() if asked.transcript else "",
    }
    if asked.images:
        pictures = hashlib.sha256(b"".join(image.SerializeToString(deterministic=True) for image in asked.images))
        parts["images"] = pictures.hexdigest()
    if asked.output_schema_json:
        parts["output_schema"] = asked.output_schema_json
    try:
        return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        # The context alone may hold what JSON has and we do not: whole numbers of more than 64 bits.
        raise InvalidInput(f"context cannot be taken: {error}") from error
