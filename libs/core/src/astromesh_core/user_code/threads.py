"""The threads that users' blocking code runs in: bounded, and daemons: one that hangs cannot hold up an exit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

from astromesh_core.errors import Unavailable
from astromesh_core.user_code.foreign import Raised, attempt

Value = TypeVar("Value")


class DaemonThreads:
    """Runs calls in at most `most` threads, started as they are needed; more calls wait in order.

    The standard executor is not used because the interpreter joins its threads before it exits.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._lock = Lock()
        self._started = 0
        self._free = 0
        self._closed = False

    def submit(self, call: Callable[[], Value]) -> Future[Value]:
        """Queues the call. The future holds what it returns, or Raised; cancelling works until the call starts.

        Raises Unavailable after `close`.
        """
        future: Future[Value] = Future()
        with self._lock:
            if self._closed:
                raise Unavailable("this service stops: no more of users' code is started")
            self._queue.put((future, call))
            if self._free > 0:
                self._free -= 1
            elif self._started < self._most:
                self._started += 1
                Thread(target=self._work, name=f"users-code-{self._started}", daemon=True).start()
            else:
                self._free -= 1
        return future

    def close(self) -> None:
        """Starts nothing more and ends idle threads. What is running runs on, as long as the process lives."""
        with self._lock:
            self._closed = True
            started = self._started
        while not self._queue.empty():
            queued = self._queue.get()
            if queued is not None:
                queued[0].cancel()
        for _ in range(started):
            self._queue.put(None)

    def _work(self) -> None:
        while (queued := self._queue.get()) is not None:
            future, call = queued
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(attempt(call))
                except Raised as raised:
                    future.set_exception(raised)
            del queued, future, call
            with self._lock:
                self._free += 1
