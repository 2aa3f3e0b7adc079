"""Beats at exact times, for load whose calls are due whether or not earlier ones were answered. Linux only (timerfd).

A loop's own timers are too coarse for it: they ring at whole milliseconds.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import time
from collections.abc import AsyncGenerator

_ABSOLUTE = 1
_LEAD_SECONDS = 0.01


class _Spec(ctypes.Structure):
    """struct itimerspec, see timerfd_settime(2)."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanos", ctypes.c_long),
        ("first_seconds", ctypes.c_long),
        ("first_nanos", ctypes.c_long),
    )


async def beats(rate: float, count: int) -> AsyncGenerator[float, None]:
    """Yields, when it is due, the moment (of `time.perf_counter`) of each of `count` beats, `rate` a second.

    One that was missed, because the loop was busy, is made up for at once, and bears its own moment.
    """
    interval, begun = round(1e9 / rate), time.perf_counter_ns() + round(_LEAD_SECONDS * 1e9)
    descriptor, ticked, loop = _timer(begun, interval), asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(descriptor, ticked.set)
    done = 0
    try:
        while done < count:
            await ticked.wait()
            ticked.clear()
            (elapsed,) = struct.unpack("Q", os.read(descriptor, 8))
            for number in range(done, min(done + elapsed, count)):
                yield (begun + number * interval) / 1e9
            done += elapsed
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _timer(first: int, interval: int) -> int:
    """A descriptor that can be read at `first`, and each interval after it. Nanoseconds of the monotonic clock, which
    `perf_counter` reads too."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK)
    spec = _Spec(*divmod(interval, 10**9), *divmod(first, 10**9))
    if descriptor < 0 or libc.timerfd_settime(descriptor, _ABSOLUTE, ctypes.byref(spec), None):
        raise OSError(ctypes.get_errno(), "timerfd")
    return descriptor
