"""One stream's messages for a changing set of partitions, each partition's in order and without a gap or a repeat.

A partition that joins is read up to the stream's end by itself, for its checkpoint may lie far behind the others'; then
the feed that all share carries it on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from astromesh_core.bus.client import BusClient
from astromesh_core.bus.feed import Delivered, Feed, OrderedFeed
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StoredMessage, StreamReader
from astromesh_core.bus.subjects import partition_of_subject
from astromesh_core.errors import AstromeshError


class Track:
    """How far one partition has come. `pending` counts messages that were handed in and not passed on yet."""

    __slots__ = ("followed", "handed_in", "passed", "pending")

    def __init__(self, start: Position) -> None:
        self.followed = True
        self.handed_in = start.sequence
        self.passed = start
        self.pending = 0

    def hand_in(self, sequence: int) -> None:
        """Counts a message as handed in: it is not asked for again, and passed on some time."""
        self.handed_in = sequence
        self.pending += 1

    def pass_on(self, position: Position) -> bool:
        """Counts a message that was handed in as passed on; False where its partition is not followed any more."""
        self.pending -= 1
        self.passed = position
        return self.followed


class Lane:
    """Hands messages of the followed partitions to `hand_in`, which may answer an awaitable to be waited for."""

    def __init__(
        self,
        nc: BusClient,
        stream: str,
        filter_of: Callable[[int], str],
        hand_in: Callable[[Track, Delivered], Awaitable[None] | None],
        room: Callable[[], Awaitable[None] | None],
    ) -> None:
        self._nc = nc
        self._stream = stream
        self._filter_of = filter_of
        self._hand_in = hand_in
        self._room = room
        self._reader = StreamReader(nc, stream)
        self._tracks: dict[int, Track] = {}
        self._joined: frozenset[int] = frozenset()
        self._feed: OrderedFeed | None = None

    @property
    def trouble(self) -> str:
        """Why nothing is delivered; empty where all is well."""
        return "" if self._feed is None else self._feed.trouble

    def reached(self, partition: int) -> Position:
        """Up to where everything of the partition has been passed on."""
        track = self._tracks.get(partition)
        if track is None:
            return Position.START
        if track.pending or self._feed is None or partition not in self._joined:
            return track.passed
        return max(track.passed, Position(self._feed.position))

    async def follow(self, starts: Mapping[int, Position]) -> None:
        """Adds partitions. Raises Unavailable or TimedOut, having added none."""
        self.forget(starts)
        tracks = {partition: Track(start) for partition, start in starts.items()}
        end = await self._reader.end()
        try:
            await asyncio.gather(*(self._catch_up(partition, track, end) for partition, track in tracks.items()))
        except AstromeshError:
            # What is on its way already comes again when the caller tries again.
            for track in tracks.values():
                track.followed = False
            raise
        self._tracks |= tracks
        await self._restart(end.sequence if self._feed is None else min(end.sequence, self._feed.position))

    def forget(self, partitions: Collection[int]) -> None:
        """From now on nothing of these partitions is passed on."""
        for partition in partitions:
            track = self._tracks.pop(partition, None)
            if track is not None:
                track.followed = False

    async def narrow(self) -> None:
        """Reads no more of what was forgotten."""
        if self._feed is not None and self._joined != self._tracks.keys():
            await self._restart(self._feed.position)

    async def close(self) -> None:
        """Ends the feed."""
        feed, self._feed = self._feed, None
        if feed is not None:
            await feed.__aexit__(None, None, None)

    async def _restart(self, after: int) -> None:
        await self.close()
        self._joined = frozenset(self._tracks)
        if self._joined:
            subjects = [self._filter_of(partition) for partition in sorted(self._joined)]
            self._feed = OrderedFeed(self._nc, Feed(self._stream, subjects, after=after), self._on_message)
            await self._feed.__aenter__()

    async def _catch_up(self, partition: int, track: Track, end: Position) -> None:
        subject = self._filter_of(partition)
        for stored in await self._reader.batch(subject, Position(track.handed_in)):
            await self._hand_in_stored(track, stored)
        # The replica that answered the batch may lag: what is missing up to the end, the leader knows.
        while Position(track.handed_in) < end:
            stored = await self._reader.next(subject, Position(track.handed_in))
            if stored is None or stored.position > end:
                return
            await self._hand_in_stored(track, stored)

    async def _hand_in_stored(self, track: Track, stored: StoredMessage) -> None:
        waiting = self._accept(track, Delivered(stored.position.sequence, stored.subject, stored.data, None, 0))
        if waiting is not None:
            await waiting

    def _on_message(self, message: Delivered) -> Awaitable[None] | None:
        track = self._tracks.get(partition_of_subject(message.subject))
        if track is None or message.sequence <= track.handed_in:
            return None
        return self._accept(track, message) or self._room()

    def _accept(self, track: Track, message: Delivered) -> Awaitable[None] | None:
        waiting = self._hand_in(track, message)
        if waiting is not None:
            return self._accept_later(track, message, waiting)
        track.hand_in(message.sequence)
        return None

    async def _accept_later(self, track: Track, message: Delivered, waiting: Awaitable[None]) -> None:
        # Handed in only when that is done: a restart may cut it in the middle, and then the message comes again.
        await waiting
        track.hand_in(message.sequence)
