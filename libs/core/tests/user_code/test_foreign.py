"""Whatever users' code raises is its answer; a cancel of ours is none."""

from __future__ import annotations

import asyncio

import pytest

from astromesh_core.user_code.foreign import Raised, attempt_async


async def test_a_cancel_that_the_code_raises_itself_is_its_answer() -> None:
    async def gives_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(Raised, match="CancelledError"):
        await attempt_async(gives_up)


async def test_a_cancel_of_ours_passes_through() -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(attempt_async(waits))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await attempt_async(waits)
