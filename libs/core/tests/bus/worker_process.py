"""A worker in a process of its own, to be killed or stopped: tells what it holds, a line of JSON for each change."""

import asyncio
import json
import sys
import time
from pathlib import Path

from astromesh_core.bus.connection import open_bus
from astromesh_core.bus.credentials import load_credentials
from astromesh_core.bus.ownership import Acquired, Ownership


def say(**line: object) -> None:
    """Writes one line to standard output."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def watch_wakening(ownership: Ownership) -> None:
    """Says, right after this process was stopped for long, whether the ownership still believes to hold anything."""
    last = time.monotonic()
    while True:
        await asyncio.sleep(0.02)
        # What the first instruction after a long stop would see, before any other task has run.
        now, holds = time.monotonic(), any(ownership.holds(partition) for partition in range(64))
        if now - last > 1:
            say(woke_after=now - last, holds=holds)
        last = now


async def main(url: str, credentials: Path, name: str) -> None:
    async with (
        open_bus(url, service="runtime", credentials=load_credentials(credentials), name=name) as bus,
        Ownership(bus, name) as ownership,
    ):
        watching = asyncio.create_task(watch_wakening(ownership))
        async for change in ownership.changes():
            kind = "acquired" if isinstance(change, Acquired) else "lost"
            say(**{kind: sorted(change.partitions)})
        watching.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
