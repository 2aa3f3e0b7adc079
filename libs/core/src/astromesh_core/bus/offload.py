"""Keeping commits small: which contents go to the object store, largest first, and how many events one commit takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from google.protobuf.message import Message as ProtoMessage

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.values_pb2 import Content
from astromesh_core.bus.values import ValueStore
from astromesh_core.events.contents import iter_contents

COMMIT_BYTES = 256 << 10
"""What a commit is brought down to."""
MAX_COMMIT_BYTES = 900 << 10
"""Of a single event with nothing left to move: below the one megabyte that a server admits by default."""

# A reference takes about 45 bytes, a value its own message and its own fsync.
_WORTH_MOVING_BYTES = 1 << 10
_FRAME_BYTES = 8


async def offload(batch: Sequence[Envelope], values: ValueStore) -> int:
    """Moves contents of these events to the object store, in place, until they fit one commit.

    Answers how many of them, from the first on, make the next commit: at least one. Raises like ValueStore.put.
    """
    chosen = _largest(batch, commit_bytes(batch) - COMMIT_BYTES)
    stored = await asyncio.gather(*(values.put(content.SerializeToString()) for content in chosen))
    for content, value in zip(chosen, stored, strict=True):
        content.stored.CopyFrom(value)
    return _fitting(batch)


def commit_bytes(batch: Sequence[Envelope]) -> int:
    """The size of a commit of these events, once they are sealed; never less than it will be."""
    return sum(sealed_bytes(envelope.ByteSize()) for envelope in batch)


def sealed_bytes(size: int) -> int:
    """What an envelope of this size takes in a commit: `seal` adds the hash of the previous event."""
    return size + 34 + _FRAME_BYTES


def fixed_bytes(message: ProtoMessage) -> int:
    """The size of an event without what could be moved."""
    return message.ByteSize() - sum(content.ByteSize() for content in iter_contents(message) if _movable(content))


def _largest(batch: Sequence[Envelope], excess: int) -> list[Content]:
    movable = [content for envelope in batch for content in iter_contents(envelope) if _movable(content)]
    movable.sort(key=lambda content: content.ByteSize(), reverse=True)
    chosen: list[Content] = []
    for content in movable:
        if excess <= 0:
            break
        chosen.append(content)
        excess -= content.ByteSize() - _WORTH_MOVING_BYTES // 16
    return chosen


def _movable(content: Content) -> bool:
    return not content.HasField("stored") and content.ByteSize() > _WORTH_MOVING_BYTES


def _fitting(batch: Sequence[Envelope]) -> int:
    total = 0
    for count, envelope in enumerate(batch):
        total += sealed_bytes(envelope.ByteSize())
        if total > COMMIT_BYTES and count > 0:
            return count
    return len(batch)
