"""A conversation with a model that knows its own digest, so that an effect over it is identified in constant time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from astromesh.v1.values_pb2 import Message
from astromesh_core.events.canonical import KeyedDigest


@dataclass(frozen=True, slots=True)
class Transcript:
    """Messages, oldest first, and their chained digest. Immutable: `plus` gives a new one."""

    digester: KeyedDigest
    messages: tuple[Message, ...] = ()
    digest: bytes = b""

    def plus(self, *messages: Message) -> Transcript:
        """This transcript with more messages at its end."""
        digest = self.digest
        for message in messages:
            digest = self.digester.chained(digest, message)
        return Transcript(self.digester, self.messages + messages, digest)

    @classmethod
    def of(cls, digester: KeyedDigest, messages: Iterable[Message]) -> Transcript:
        """A transcript of these messages."""
        return cls(digester).plus(*messages)
