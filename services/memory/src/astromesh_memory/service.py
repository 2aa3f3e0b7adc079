"""The rpc of memory: what a session's agent gets to remember, and what people may look at."""

from __future__ import annotations

import base64
import binascii
from functools import partial
from typing import Final, Protocol

from google.protobuf.message import Message as ProtoMessage

from astromesh.v1.memory_pb2 import (
    HistoryEntry,
    ListHistoryRequest,
    ListHistoryResponse,
    RecallRequest,
    RecallResponse,
)
from astromesh.v1.memory_pb2_grpc import MemoryServiceServicer
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.positions import Position
from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.compiled import Compiled, Specs
from astromesh_core.rpc.deadlines import remaining
from astromesh_core.rpc.ports import ServicerContext
from astromesh_memory.conversations import Conversations, Place
from astromesh_memory.database import Database
from astromesh_memory.projector import Projector

LONGEST_WAIT: Final = 10.0
"""Seconds that a recall waits for the log to be applied; the rest of its deadline if that is less."""

_TIME_TO_ANSWER: Final = 0.1
_DEFAULT_PAGE, _LARGEST_PAGE = 50, 200
_START = Place(b"", -1)


class Values(Protocol):
    """Fetches contents that were moved to the object store."""

    async def resolve_all(self, message: ProtoMessage) -> None:
        """Fetches every stored Content of the message, in place."""
        ...


class MemoryService(MemoryServiceServicer):
    """Answers from the conversations."""

    def __init__(self, specs: Specs, database: Database, projector: Projector, values: Values) -> None:
        self._windows = Compiled(specs, _window)
        self._database = database
        self._projector = projector
        self._values = values

    async def Recall(self, request: RecallRequest, context: ServicerContext) -> RecallResponse:
        """Returns the last turns of the session, oldest first; none where the agent declares no conversational memory.

        Raises Unavailable where memory does not reach `after_position` in time.
        """
        window = await self._windows.of(request.agent)
        if window == 0:
            return RecallResponse()
        if request.after_position:
            wait = max(0.0, min(LONGEST_WAIT, remaining() - _TIME_TO_ANSWER))
            await self._projector.reached(Position.decode(request.after_position), wait)
        last = partial(
            Conversations.last, namespace=request.agent.namespace, session_key=request.session_key, most=window
        )
        turns = await self._database.run(last)
        response = RecallResponse(messages=[message for turn in turns for message in turn.stored.turn])
        await self._values.resolve_all(response)
        return response

    async def ListHistory(self, request: ListHistoryRequest, context: ServicerContext) -> ListHistoryResponse:
        """Returns a page of the session's messages, oldest first. `page_size` counts runs; a run is never split."""
        size = min(request.page_size or _DEFAULT_PAGE, _LARGEST_PAGE)
        if size < 0:
            raise InvalidInput("page_size must not be negative")
        after = partial(
            Conversations.after,
            namespace=request.namespace,
            session_key=request.session_key,
            place=_place(request.page_token),
            most=size + 1,
        )
        turns = await self._database.run(after)
        page = turns[:size]
        response = ListHistoryResponse(
            entries=[
                HistoryEntry(run_id=turn.run_id, time_unix_nano=turn.time_unix_nano, message=message)
                for turn in page
                for message in turn.stored.turn
            ],
            next_page_token=_token(page[-1].place) if len(turns) > size else "",
        )
        await self._values.resolve_all(response)
        return response


def _window(ref: ResourceRef, spec_json: str) -> int:
    """Returns how many turns the agent remembers; 0: none."""
    memory = AgentSpec.from_json(spec_json).memory.conversational
    if memory is None:
        return 0
    if memory.strategy != "sliding_window":
        raise NotSupported(f"agent {ref.name}: memory.conversational.strategy {memory.strategy} is not built yet")
    return memory.max_turns


def _token(place: Place) -> str:
    return base64.urlsafe_b64encode(place.event_index.to_bytes(4, "big") + place.position).decode()


def _place(token: str) -> Place:
    if not token:
        return _START
    try:
        data = base64.b64decode(token, altchars=b"-_", validate=True)
        Position.decode(data[4:])
    except (binascii.Error, ValueError, InvalidInput) as error:
        raise InvalidInput(
            "page_token is none that this service gave out; leave it empty for the first page"
        ) from error
    return Place(data[4:], int.from_bytes(data[:4], "big"))
