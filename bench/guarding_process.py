"""A process that guards messages and prints its RSS after each of some steps: `guarding_process.py MESSAGES STEPS`."""

from __future__ import annotations

import asyncio
import os
import sys

import orjson
from guarded_chain import Chain
from mixed_text import mixed_text
from processes import resident_bytes

SIZE = 1_024
_TEXT = 4_000_000


async def main(messages: int, steps: int) -> None:
    chain, text = Chain(), mixed_text(_TEXT)
    for step in range(steps):
        for number in range(step * messages // steps, (step + 1) * messages // steps):
            place = number * 997 % (len(text) - SIZE)
            # No two are alike: what would be kept by its text grows.
            await chain.check(f"Message {number}, mail to user{number}@example.com. {text[place : place + SIZE]}")
        sys.stdout.write(orjson.dumps(resident_bytes(os.getpid())).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
