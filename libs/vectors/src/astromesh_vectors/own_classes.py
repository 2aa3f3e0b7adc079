"""Users' own embedders and rerankers: found, made in a thread, and the edge at which they may raise anything."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar, cast

from astromesh_core.errors import ERRORS, AstromeshError, InvalidInput, Unavailable
from astromesh_core.telemetry.logs import logger
from astromesh_core.user_code.foreign import Raised, attempt_async
from astromesh_core.user_code.modules import Modules, UserCode
from astromesh_core.user_code.threads import DaemonThreads

T = TypeVar("T")

CLOSING_SECONDS: Final = 5.0
SHOWN: Final = 300

_log = logger(__name__)


class OwnClasses:
    """Makes objects of users' classes, one after the other."""

    def __init__(self, modules: Modules) -> None:
        """`modules` stays the caller's."""
        self._modules = modules
        self._thread = DaemonThreads(1)

    async def make(self, path: str, make: Callable[[UserCode], object], methods: Sequence[str], key: str) -> Own:
        """The object of the class at `module:Class` that `make` makes of it. Raises InvalidInput, Unavailable."""
        try:
            made = await asyncio.wrap_future(self._thread.submit(lambda: make(self._modules.find(path))))
        except Raised as raised:
            raise error_of(path, key, raised) from raised
        missing = [name for name in methods if not hasattr(made, name)]
        if missing:
            raise InvalidInput(f"{path}: has no {', no '.join(missing)}")
        return Own(path, key, made)

    def close(self) -> None:
        """Makes nothing more."""
        self._thread.close()


class Own:
    """One object of a user's class."""

    def __init__(self, path: str, key: str, made: object) -> None:
        self.path = path
        self.made = made
        self._key = key

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """What a method of it answers. Raises an error of ours, without the key, whatever the class raises."""
        try:
            return await attempt_async(work)
        except Raised as raised:
            raise error_of(self.path, self._key, raised) from raised

    async def close(self) -> None:
        """Closes it, if it can be. What that raises is logged."""
        close: object = getattr(self.made, "close", None)
        if not inspect.iscoroutinefunction(close):
            return
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await attempt_async(close)
        except (Raised, TimeoutError) as error:
            cause = error.error if isinstance(error, Raised) else error
            _log.warning("a class of the user's did not close", path=self.path, reason=type(cause).__name__)


def error_of(path: str, key: str, raised: Raised) -> AstromeshError:
    """What a class raised as an error that names it: one of ours as it is, any other one as Unavailable."""
    error = raised.error
    said = " ".join(str(error).split())
    said = (said.replace(key, "[key]") if key else said)[:SHOWN]
    if not isinstance(error, AstromeshError):
        return Unavailable(f"{path}: raised {type(error).__name__}{f' ({said})' if said else ''}")
    kind = next(kind for kind in type(error).__mro__ if kind in ERRORS.values())
    named = said if said.startswith(path) else f"{path}: {said}"
    return cast("type[AstromeshError]", kind)(named, retry_after=_seconds(error))


def _seconds(error: AstromeshError) -> float | None:
    wait: object = getattr(error, "retry_after", None)
    return wait if isinstance(wait, int | float) and 0 <= wait < math.inf else None
