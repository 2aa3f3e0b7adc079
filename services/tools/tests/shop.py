"""The users' module that the tests of execution call. Copied into a tools folder, never imported from here."""

import asyncio
import datetime
import time

from astromesh_core.errors import RateLimited

started: list[float] = []
ended: list[float] = []
cancelled: list[float] = []


def add(a: int, b: int = 1) -> int:
    """Adds two numbers.

    Args:
        a: the first
        b: the second
    """
    return a + b


async def later(seconds: float) -> str:
    started.append(seconds)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled.append(seconds)
        raise
    return "slept"


def block(seconds: float) -> str:
    started.append(seconds)
    time.sleep(seconds)
    ended.append(seconds)
    return "slept"


def seen() -> dict[str, list[float]]:
    return {"started": started, "ended": ended, "cancelled": cancelled}


def order(item: str, idempotency_key: str) -> str:
    return f"{item} under {idempotency_key}"


def day(when: datetime.date) -> dict[str, datetime.date]:
    return {"next": when + datetime.timedelta(days=1)}


def breaks() -> None:
    raise LookupError("no such order")


def busy() -> None:
    raise RateLimited("slow down", retry_after=2)


def leaves() -> None:
    raise SystemExit(3)


async def times_out_itself() -> None:
    raise TimeoutError("the bank")


def long() -> str:
    return "é" * 200_000


def surrogate() -> str:
    return "a\ud800b"


def odd() -> object:
    return {"x": float("nan"), "y": {1}, "z": object}


def happened(what: str) -> bool:
    end = time.monotonic() + 2
    while not seen()[what] and time.monotonic() < end:
        time.sleep(0.01)
    return bool(seen()[what])
