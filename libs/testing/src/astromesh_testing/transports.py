"""A way to the server on which things go wrong as the test says; what is not said goes through to the real one."""

from __future__ import annotations

from astromesh_core.bus.client import BusClient
from astromesh_core.bus.parsing import Message
from astromesh_core.errors import TimedOut, Unavailable


class FaultyTransport:
    """Meets each request to a subject that starts with `to` with the next of its faults, then lets all through.

    A fault is a JSON reply (the request is not sent), LOST (not sent, no answer) or UNHEARD (sent, answer lost).
    """

    LOST = b"lost"
    UNHEARD = b"unheard"
    NO_RESPONDERS = b"503"

    def __init__(self, client: BusClient, *faults: bytes, to: str = "mesh.") -> None:
        self._client = client
        self._faults = list(faults)
        self._to = to
        self.asked: list[tuple[str, bytes, bytes]] = []
        """Subject, payload and headers of every request that could have met a fault."""

    async def ask(self, subject: str, payload: bytes = b"", *, headers: bytes = b"", seconds: float = 5.0) -> Message:
        """See Transport."""
        fault = None
        if subject.startswith(self._to):
            self.asked.append((subject, payload, headers))
            fault = self._faults.pop(0) if self._faults else None
        if fault == self.LOST:
            raise TimedOut("lost on the way, says the test")
        if fault == self.NO_RESPONDERS:
            raise Unavailable("nobody answers, says the test")
        if fault is not None and fault != self.UNHEARD:
            return Message(self._client, subject=subject, data=fault)
        answer = await self._client.ask(subject, payload, headers=headers, seconds=seconds)
        if fault == self.UNHEARD:
            raise TimedOut("the answer was lost, says the test")
        return answer

    async def collect(self, subject: str, payload: bytes, *, seconds: float = 10.0) -> list[Message]:
        """See Transport."""
        if subject.startswith(self._to) and self._faults:
            if self._faults.pop(0) == self.NO_RESPONDERS:
                raise Unavailable("nobody answers, says the test")
            return []
        return await self._client.collect(subject, payload, seconds=seconds)

    async def online(self) -> None:
        """See Transport."""
        await self._client.online()
