"""The hash chain of an aggregate: sealing events, opening commits, verifying. A hash covers the bytes as stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

from google.protobuf.message import DecodeError

from astromesh.v1.envelope_pb2 import Commit, Envelope
from astromesh_core.errors import Bug


class ChainHead(NamedTuple):
    """Where a chain stands: the index the next event gets, and the SHA-256 of the last event's bytes."""

    next_index: int
    sha256: bytes


GENESIS = ChainHead(0, b"")
"""The head of a chain with no event."""

_OTHER_HASH = "the hash of the previous event differs"


@dataclass(slots=True)
class StoredEvent:
    """An event with the bytes it was stored as, which the chain covers. Never changed once made.

    Not frozen, for a frozen one takes four times as long to make, and there is one for every event that anybody reads.
    """

    envelope: Envelope
    data: bytes
    _head: ChainHead | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def index(self) -> int:
        """Position in its aggregate, from 0."""
        return self.envelope.index

    def head(self) -> ChainHead:
        """The chain's head once this event is its last. Hashed once: every projection of a process asks for it."""
        head = self._head
        if head is None:
            head = self._head = ChainHead(self.envelope.index + 1, hashlib.sha256(self.data).digest())
        return head


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """What verifying found: `broken_at` is the first index that does not hold, with the reason. Nothing in a chain
    vouches for its last event; so where that denies the one before, it is itself the one named."""

    ok: bool
    events: int
    broken_at: int | None = None
    reason: str = ""


def seal(envelope: Envelope, head: ChainHead) -> tuple[bytes, ChainHead]:
    """Gives the envelope its index and its predecessor's hash; answers the bytes to store and the new head."""
    envelope.index = head.next_index
    envelope.previous_sha256 = head.sha256
    data = envelope.SerializeToString()
    return data, ChainHead(head.next_index + 1, hashlib.sha256(data).digest())


def build_commit(envelopes: Iterable[bytes]) -> bytes:
    """The bytes of one append. Deterministic: the same events give the same bytes and so the same message id."""
    return Commit(envelopes=envelopes).SerializeToString()


def open_commit(commit: bytes) -> list[StoredEvent]:
    """The events of a stored message, in order. Raises Bug on bytes that are no commit."""
    try:
        return [StoredEvent(Envelope.FromString(data), data) for data in Commit.FromString(commit).envelopes]
    except DecodeError as error:
        raise Bug(f"a stored message is not a commit: {error}") from error


def verify_chain(events: Iterable[bytes], last_sha256: bytes = b"") -> ChainVerdict:
    """Checks that indexes run from 0 without a gap, that one aggregate is spoken of, and that each hash matches.

    `last_sha256`: what somebody else vouches that the last event's hash is; it only tells which of the last two events
    is at fault where they do not fit.
    """
    head, aggregate = GENESIS, None
    stored = list(events)
    for data, following in zip_longest(stored, stored[1:]):
        broken = _broken_link(data, head, aggregate)
        if broken == _OTHER_HASH and head.next_index and _vouches(following, data, last_sha256):
            # This event is as it was sealed: the one before it is not.
            told = f"its hash is not the one that event {head.next_index} holds"
            return ChainVerdict(False, head.next_index - 1, head.next_index - 1, told)
        if isinstance(broken, str):
            return ChainVerdict(False, head.next_index, head.next_index, broken)
        aggregate = broken.aggregate_id
        head = ChainHead(head.next_index + 1, hashlib.sha256(data).digest())
    if head == GENESIS:
        return ChainVerdict(False, 0, 0, "there is no event")
    return ChainVerdict(True, head.next_index)


def _vouches(following: bytes | None, data: bytes, last_sha256: bytes) -> bool:
    """Whether the next event holds the hash of these bytes; of the last one, whether somebody else does."""
    if following is None:
        return last_sha256 == hashlib.sha256(data).digest()
    try:
        return Envelope.FromString(following).previous_sha256 == hashlib.sha256(data).digest()
    except DecodeError:
        return False


def _broken_link(data: bytes, head: ChainHead, aggregate: str | None) -> Envelope | str:
    try:
        envelope = Envelope.FromString(data)
    except DecodeError:
        return "the bytes are not an event"
    if envelope.index != head.next_index:
        return f"expected index {head.next_index}, found {envelope.index}"
    if envelope.previous_sha256 != head.sha256:
        return _OTHER_HASH
    if aggregate is not None and envelope.aggregate_id != aggregate:
        return f"belongs to {envelope.aggregate_id}, not to {aggregate}"
    return envelope
