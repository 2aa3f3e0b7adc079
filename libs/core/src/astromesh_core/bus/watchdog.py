"""Looks after durable consumers, as a pull subscriber cannot: a fetch from one that is gone only times out, for ever.

A durable is made before it is used, found missing within seconds, made anew from where its acknowledgements had come
to, and its disappearance and its lag are told to readiness.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

import orjson
import structlog

from astromesh_core.bus.connection import Bus, BusHealth
from astromesh_core.bus.feed import TOLD_SECONDS
from astromesh_core.errors import AstromeshError, Unavailable

LAG_SECONDS = 30.0
"""A consumer that has had something to do for this long, and got on with nothing, turns readiness red."""

_LOOK_SECONDS = 1.0
_NOT_FOUND = 10014
_SECOND = 1_000_000_000


class Durable(NamedTuple):
    """A durable pull consumer of one subject or pattern."""

    stream: str
    subject: str
    name: str
    ack_wait: float


@dataclass(slots=True)
class _Watched:
    durable: Durable
    acknowledged: int = 0
    """The stream sequence up to which everything is acknowledged."""
    pending: int = 0
    moved: float = field(default_factory=time.monotonic)
    vanished: float = float("-inf")
    trouble: str = ""


_log = structlog.get_logger(__name__)


class Watchdog:
    """`async with Watchdog(bus)`, after `guard` was called for every consumer."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._watched: list[_Watched] = []
        self._task: asyncio.Task[None] | None = None

    def guard(self, durable: Durable) -> None:
        """Looks after this consumer too."""
        self._watched.append(_Watched(durable))

    async def __aenter__(self) -> Self:
        for watched in self._watched:
            await self._make(watched)
        self._forget = [self._bus.add_check(partial(_health, watched)) for watched in self._watched]
        self._task = asyncio.create_task(self._keep_looking(), name="watchdog of consumers")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for forget in self._forget:
            forget()

    async def _keep_looking(self) -> None:
        while True:
            for watched in self._watched:
                try:
                    await self._look(watched)
                except AstromeshError as error:
                    watched.trouble = str(error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, watched: _Watched) -> None:
        durable = watched.durable
        reply = await self._bus.nc.ask(f"$JS.API.CONSUMER.INFO.{durable.stream}.{durable.name}")
        info = orjson.loads(reply.data)
        if "error" not in info:
            self._note(watched, int(info["ack_floor"]["stream_seq"]), info["num_pending"] + info["num_ack_pending"])
        elif info["error"].get("err_code") == _NOT_FOUND:
            _log.error("a durable consumer vanished", stream=durable.stream, consumer=durable.name)
            watched.vanished = time.monotonic()
            await self._make(watched)
        else:
            watched.trouble = f"no word of the consumer: {info['error'].get('description')}"

    def _note(self, watched: _Watched, acknowledged: int, pending: int) -> None:
        if acknowledged != watched.acknowledged or pending == 0:
            watched.moved = time.monotonic()
        watched.acknowledged, watched.pending, watched.trouble = acknowledged, pending, ""

    async def _make(self, watched: _Watched) -> None:
        """Makes the consumer, or leaves it as it is. Raises Unavailable or TimedOut."""
        durable = watched.durable
        config: dict[str, object] = {
            "durable_name": durable.name,
            "name": durable.name,
            "filter_subject": durable.subject,
            "ack_policy": "explicit",
            "ack_wait": int(durable.ack_wait * _SECOND),
            "deliver_policy": "all",
            "replay_policy": "instant",
        }
        if watched.acknowledged:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": watched.acknowledged + 1}
        if await self._exists(durable):
            return
        request = orjson.dumps({"stream_name": durable.stream, "config": config})
        subject = f"$JS.API.CONSUMER.CREATE.{durable.stream}.{durable.name}.{durable.subject}"
        reply = orjson.loads((await self._bus.nc.ask(subject, request)).data)
        if "error" in reply:
            raise Unavailable(f"consumer {durable.name} cannot be made: {reply['error'].get('description')}")

    async def _exists(self, durable: Durable) -> bool:
        reply = await self._bus.nc.ask(f"$JS.API.CONSUMER.INFO.{durable.stream}.{durable.name}")
        return "error" not in orjson.loads(reply.data)


def _health(watched: _Watched) -> BusHealth:
    now = time.monotonic()
    reason = watched.trouble
    if not reason and now - watched.vanished < TOLD_SECONDS:
        reason = "the consumer vanished and was made anew"
    if not reason and watched.pending and now - watched.moved > LAG_SECONDS:
        reason = f"{watched.pending} messages wait, and none was handled for {now - watched.moved:.0f} s"
    return BusHealth(f"consumer {watched.durable.name}", not reason, reason)
