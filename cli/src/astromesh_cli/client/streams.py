"""Following a run: its events as the mesh sends them, taken up again where a lost connection left off."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import httpx
import orjson
from httpx_sse import EventSource

from astromesh_cli.client.failures import Unreachable
from astromesh_cli.client.mesh import MeshClient

if TYPE_CHECKING:
    from pydantic import JsonValue

ENDS = frozenset(("done", "error", "ended"))
"""The last message of a run. `ended` is ours: the run had ended, and everything was received before."""

_PASSING = frozenset(("token", "reasoning", "restart", "tool_progress"))
_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each attempt to find a run again."""


@dataclass(frozen=True, slots=True)
class Event:
    """A message of a stream. `id` is the place to resume from, "" where it has none."""

    name: str
    data: dict[str, JsonValue]
    id: str = ""

    def text(self, name: str) -> str:
        """A member as text; "" where it is missing."""
        return str(self.data.get(name) or "")

    def number(self, name: str) -> float:
        """A member as a number; 0 where it is none."""
        value = self.data.get(name)
        return float(value) if isinstance(value, int | float) else 0.0


def asked(mesh: MeshClient, agent: str, body: Mapping[str, JsonValue]) -> Generator[Event]:
    """Asks an agent; the run's events to its end, `done` or `error`, or to where it waits for somebody (`done` too).

    The first event is `run`, ours, with the run's id.
    """
    run_id, last = "", ""
    try:
        with mesh.stream("POST", f"/v1/agents/{agent}/run", body=body) as response:
            run_id = response.headers.get("x-run-id", "")
            yield Event("run", {"run_id": run_id})
            for event in events_of(response):
                yield event
                last = event.id or last
                if event.name in ENDS:
                    return
    except Unreachable:
        if not run_id:
            raise
    yield from followed(mesh, run_id, last)


def followed(mesh: MeshClient, run_id: str, last: str = "") -> Generator[Event]:
    """The events of a run after the one with id `last`, to its end. Raises Unreachable after five vain attempts."""
    for pause in (*_PAUSES, None):
        try:
            with closing(_watched(mesh, run_id, last)) as events:
                for event in events:
                    yield event
                    last = event.id or last
                    if event.name in ENDS:
                        return
            # The stream ended before the run did: its server left, and another may serve the rest.
            raise Unreachable(mesh.url, "the stream broke off")
        except Unreachable:
            if pause is None:
                raise
            time.sleep(pause)


def events_of(response: httpx.Response) -> Iterator[Event]:
    """The messages of an answer."""
    for message in EventSource(response).iter_sse():
        if not message.data:
            # A comment that keeps the stream alive: the decoder gives it as a message once one had an id, though one
            # without data is none (WHATWG HTML §9.2.6).
            continue
        data = cast("object", orjson.loads(message.data))
        if isinstance(data, dict):
            # What is not stored has no id of its own; the decoder repeats the last one there (WHATWG HTML §9.2.6).
            place = "" if message.event in _PASSING or "child" in data else message.id
            yield Event(message.event, cast("dict[str, JsonValue]", data), place)


def _watched(mesh: MeshClient, run_id: str, last: str) -> Generator[Event]:
    with mesh.stream("GET", f"/v1/runs/{run_id}/events", after=last) as response:
        if response.status_code == 204:
            yield Event("ended", {"run_id": run_id})
        else:
            yield from events_of(response)
