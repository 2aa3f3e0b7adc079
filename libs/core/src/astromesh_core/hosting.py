"""One service in a task of its own: started, watched, and drained. What a process is made of stands in `launcher`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

from astromesh_core.errors import ERRORS, AstromeshError, Bug
from astromesh_core.rpc.ports import Registrar
from astromesh_core.service import OpenService, Platform
from astromesh_core.telemetry.logs import logger

_log = logger(__name__)


@asynccontextmanager
async def hosted(
    name: str, open_service: OpenService, platform: Platform, on_end: Callable[[AstromeshError], None]
) -> AsyncGenerator[Registrar | None]:
    """The service runs within the block; what adds its servicers is given.

    Raises what kept it from starting, named. Calls `on_end` where it ends by itself later on. Leaving the block
    drains it, for at most `drain_seconds`, then cancels it.
    """
    started: asyncio.Future[Registrar | None] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    task = asyncio.create_task(_run(open_service, platform, started, stop), name=name)
    try:
        await asyncio.wait((started, task), return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            raise named(f"{name} did not start", task.exception())
        task.add_done_callback(lambda done: None if stop.is_set() else on_end(_ending(name, done)))
        yield started.result()
    finally:
        stop.set()
        if started.done():
            await _drained(name, task, platform.settings.drain_seconds)
        else:
            task.cancel()
            await asyncio.wait((task,))


async def _run(
    open_service: OpenService, platform: Platform, started: asyncio.Future[Registrar | None], stop: asyncio.Event
) -> None:
    async with open_service(platform) as registrar:
        started.set_result(registrar)
        await stop.wait()


async def _drained(name: str, task: asyncio.Task[None], seconds: float) -> None:
    _, late = await asyncio.wait((task,), timeout=seconds)
    if late:
        _log.warning("service did not finish in time and is cut off", service=name, seconds=seconds)
        task.cancel()
        await asyncio.wait((task,))
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("service ended badly", service=name, exc_info=error)


def _ending(name: str, task: asyncio.Task[None]) -> AstromeshError:
    return Bug(f"{name} was cancelled from inside.") if task.cancelled() else named(f"{name} ended", task.exception())


def named(what: str, error: BaseException | None) -> AstromeshError:
    """The error as one of ours, of the same public class, saying what it befell."""
    error = _alone(error)
    if isinstance(error, AstromeshError):
        kind = next(kind for kind in type(error).__mro__ if kind in ERRORS.values())
        failure: AstromeshError = kind(f"{what}: {error.message}", retry_after=error.retry_after)
    else:
        failure = Bug(f"{what}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _alone(error: BaseException | None) -> BaseException | None:
    """What a task group's group wraps, where it is only one."""
    while isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        if len(group.exceptions) != 1:
            return group
        error = group.exceptions[0]
    return error
