"""JSON asked of a model server over HTTP: bounded in number and size, tried again where that may help, failures named.

What is asked and what the answer means stands with each wire format.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx
import orjson
import stamina

from astromesh_core.errors import InvalidInput, TemporaryError, TimedOut, Unavailable
from astromesh_vectors.remote.refusals import Said, refusal

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 120.0
"""For one batch: a server may have to load its model first."""

MOST_AT_ONCE: Final = 4
"""Requests in flight to one server: enough to keep it busy, few enough to leave it to others."""

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of an answer. 32 vectors of 4,096 numbers are some 3 MB."""

ATTEMPTS: Final = 4
_OK: Final = 200
FIRST_PAUSE: Final = 0.5
"""Seconds between two attempts where the server names none; it doubles with each, and up to as much is added."""

LONGEST_PAUSE: Final = 30.0
"""Seconds. A server that asks for more patience is not waited for here: its caller is told how long it is."""

_DIRECT = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""Reached without the proxy that the environment may name."""


@dataclass(frozen=True, slots=True)
class Address:
    """A server, by the name that errors give it, with the key that opens it, which is shown nowhere."""

    label: str
    url: str
    key: str = field(default="", repr=False)
    key_name: str = "api_key"
    """Where the key comes from, as its owner reads it."""


class Server:
    """One model server. Cancelling a call cuts its connection, so that the server stops working for nobody."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, pool=None)
        headers = {"user-agent": "astromesh", "accept": "application/json"}
        if address.key:
            headers["authorization"] = f"Bearer {address.key}"
        try:
            self._client = httpx.AsyncClient(timeout=timeout, headers=headers, mounts=dict.fromkeys(_DIRECT))
        except UnicodeEncodeError:
            raise InvalidInput(f"{address.label}: {address.key_name} holds more than printable ASCII") from None

    async def ask(self, path: str, body: Mapping[str, object], *, attempts: int = ATTEMPTS) -> object:
        """The decoded answer to a POST of JSON; asked so many times at most, where the failure may pass.

        Raises an error of the kind that the status means, naming the server and what it said, never its key.
        """
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        tries = stamina.retry_context(
            on=_passing, attempts=attempts, timeout=None, wait_initial=FIRST_PAUSE, wait_jitter=FIRST_PAUSE
        )
        async for attempt in tries:
            with attempt:
                async with self._turns:
                    return await self._once(path, content)
        raise AssertionError("stamina raises the last failure")

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        await self._client.aclose()

    async def _once(self, path: str, content: bytes) -> object:
        label = self.address.label
        try:
            status, headers, answer = await self._sent(path, content)
        except httpx.ConnectTimeout as error:
            raise TimedOut(f"{label}: no connection within {CONNECT_SECONDS:g} s; check that it runs") from error
        except httpx.TimeoutException as error:
            raise TimedOut(f"{label}: no answer within {ANSWER_SECONDS:g} s; see what it is busy with") from error
        except httpx.ConnectError as error:
            raise Unavailable(f"{label}: cannot be reached; check that it runs, and the endpoint") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise InvalidInput(f"{label}: the endpoint is no http address") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"{label}: broke the connection ({type(error).__name__})") from error
        if status != _OK:
            raise refusal(self.address, Said(status, answer, headers.get("retry-after", "")))
        try:
            return orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise Unavailable(f"{label}: answered no JSON; check that the endpoint is right") from error

    async def _sent(self, path: str, content: bytes) -> tuple[int, httpx.Headers, bytes]:
        headers = {"content-type": "application/json"}
        async with self._client.stream("POST", self.address.url + path, content=content, headers=headers) as response:
            answer = bytearray()
            async for chunk in response.aiter_bytes():
                answer += chunk
                if len(answer) > MOST_BYTES:
                    raise Unavailable(f"{self.address.label}: sent an answer without end")
            return response.status_code, response.headers, bytes(answer)


def _passing(error: Exception) -> bool | dt.timedelta:
    """Whether to ask again, and after what time where the server says so."""
    if not isinstance(error, TemporaryError):
        return False
    if error.retry_after is None:
        return True
    return dt.timedelta(seconds=error.retry_after) if error.retry_after <= LONGEST_PAUSE else False
