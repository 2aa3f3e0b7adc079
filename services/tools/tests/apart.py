"""The users' module that the tests of isolation call. Copied into a tools folder, never imported from here."""

import asyncio
import ctypes
import datetime
import os
import pathlib
import subprocess
import time

from astromesh_core.errors import RateLimited


def add(a: int, b: int = 1) -> int:
    print("said on stdout")  # noqa: T201 - what users print must not reach what the answer is read from
    return a + b


async def where(when: datetime.date, idempotency_key: str) -> dict[str, object]:
    await asyncio.sleep(0)
    return {"pid": os.getpid(), "year": when.year, "key": idempotency_key}


def busy() -> None:
    raise RateLimited("slow down", retry_after=2)


def grows(megabytes: int) -> int:
    return len(bytearray(megabytes << 20))


def spins() -> None:
    while True:
        pass


def crashes() -> None:
    ctypes.string_at(0)


def leaves() -> None:
    os._exit(0)


def hangs(file: str) -> None:
    left = subprocess.Popen(["sleep", "600"])
    pathlib.Path(file).write_text(f"{os.getpid()} {left.pid}")
    time.sleep(600)


def leaves_another(file: str) -> str:
    left = subprocess.Popen(["sleep", "600"])
    pathlib.Path(file).write_text(f"{os.getpid()} {left.pid}")
    return "done"
