"""Holds a model to its candidate's patience: to begin, between two deltas, and in all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from astromesh_core.errors import TimedOut
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.port import Part
from astromesh_router.failures import failed


async def in_time(
    parts: AsyncGenerator[Part, None], candidate: Candidate, seconds_left: float
) -> AsyncGenerator[Part, None]:
    """Passes the parts on and closes their source when one is late. Raises CandidateFailed with TimedOut.

    `seconds_left` is what earlier attempts have left of the candidate's whole patience. Time that the consumer takes
    between two parts counts for the whole alone.
    """
    alarm = _Alarm(seconds_left)
    patience, late = candidate.patience.first_token, "no first token"
    try:
        while True:
            alarm.wait_for(patience)
            try:
                part = await anext(parts, None)
            except asyncio.CancelledError as error:
                if not alarm.rang():
                    raise
                waited, what = (candidate.patience.whole, "no complete reply") if alarm.over() else (patience, late)
                raise failed(candidate, TimedOut, f"{what} within {waited:g} s") from error
            alarm.rest()
            if part is None:
                return
            yield part
            patience, late = candidate.patience.between_tokens, "nothing more"
    finally:
        alarm.close()
        await parts.aclose()


class _Alarm:
    """Cancels the task that waits too long, as asyncio.timeout does, with one timer for all the waits of a call.

    A timer a part would cost more than reading the part: this one is only moved when it rings too early.
    """

    def __init__(self, seconds: float) -> None:
        """`seconds` is how long the call may take in all."""
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + seconds
        self._until = self._end
        self._waiting: asyncio.Task[object] | None = None
        self._rung = False
        self._timer: asyncio.TimerHandle | None = None

    def wait_for(self, patience: float) -> None:
        """The running task waits from now on, this long at most, and never beyond the end."""
        self._waiting = asyncio.current_task()
        self._until = min(self._loop.time() + patience, self._end)
        if self._timer is None or self._timer.when() > self._until:
            self.close()
            self._timer = self._loop.call_at(self._until, self._ring)

    def rest(self) -> None:
        """Nobody waits. A ring that came too late to stop the wait is taken back."""
        self._waiting = None
        if self._rung:
            self.rang()

    def rang(self) -> bool:
        """Whether it is this alarm that cancelled the task, and nobody else did so too."""
        task, rung = asyncio.current_task(), self._rung
        self._rung = False
        return rung and task is not None and task.uncancel() == 0

    def over(self) -> bool:
        """Whether the whole call has taken its time."""
        return self._until == self._end

    def close(self) -> None:
        """Rings no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._waiting is None:
            return
        if self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._ring)
        else:
            self._rung = True
            self._waiting.cancel()
