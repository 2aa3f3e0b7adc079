"""Where work on a text is done: a long text must not hold up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

LONGEST_INLINE: Final = 16_384
"""Characters up to which a text is worked on in the event loop (a plain rule takes 0.1 ms in Rust, 4 ms in Python); a
longer one goes to a thread."""


async def worked_on(text: str, work: Callable[[str], T]) -> T:
    """What the work makes of the text."""
    return work(text) if len(text) <= LONGEST_INLINE else await asyncio.to_thread(work, text)
