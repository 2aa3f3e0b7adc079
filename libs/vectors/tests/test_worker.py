"""Calls in a thread of their own: their order, what they raise, and what becomes of those whose caller left."""

from __future__ import annotations

import asyncio
import threading

import pytest

from astromesh_vectors.worker import WorkerThread


async def test_calls_run_one_after_the_other_in_one_thread_that_is_not_the_loops() -> None:
    worker, order = WorkerThread("test"), list[tuple[int, int]]()

    def call(number: int) -> int:
        order.append((number, threading.get_ident()))
        return number * 2

    assert await asyncio.gather(*(worker.call(lambda n=n: call(n)) for n in range(50))) == [n * 2 for n in range(50)]
    await worker.close()
    assert [number for number, _ in order] == list(range(50))
    assert len({thread for _, thread in order}) == 1
    assert order[0][1] != threading.get_ident()


async def test_what_a_call_raises_is_raised_where_it_is_awaited_and_the_next_one_runs() -> None:
    worker = WorkerThread("test")

    def fails() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await worker.call(fails)
    assert await worker.call(lambda: 1) == 1
    await worker.close()


async def test_a_call_that_nobody_waits_for_any_more_is_dropped_unless_it_has_begun() -> None:
    worker, begun, gate, ran = WorkerThread("test"), threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        begun.set()
        gate.wait(10)
        ran.append("first")

    calls = [asyncio.create_task(worker.call(first)), asyncio.create_task(worker.call(lambda: ran.append("second")))]
    await asyncio.to_thread(begun.wait, 10)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    gate.set()
    await worker.close()
    assert ran == ["first"]


async def test_closing_waits_for_what_was_handed_in_and_refuses_the_rest() -> None:
    worker, ran = WorkerThread("test", threads=2), list[int]()
    calls = [asyncio.create_task(worker.call(lambda n=n: ran.append(n))) for n in range(10)]
    await asyncio.sleep(0)
    await worker.close()
    await worker.close()
    await asyncio.gather(*calls)
    assert sorted(ran) == list(range(10))
    with pytest.raises(RuntimeError, match="closed"):
        await worker.call(lambda: None)
