"""Which services there are, in the order in which they start. Each is imported when it is opened, and not before."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import cast

from astromesh_core.errors import InvalidInput
from astromesh_core.rpc.ports import Registrar
from astromesh_core.service import OpenService, Platform

SERVICES = ("operator", "guardrails", "router", "rag", "tools", "memory", "history", "runtime", "gateway")
"""In the order of starting: resources first, then who is called, then who calls. Stopped in the reverse."""


def openers(names: Iterable[str]) -> dict[str, OpenService]:
    """What opens each of these services, in the order of starting."""
    wanted = set(names)
    return {name: _opener(name) for name in SERVICES if name in wanted}


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """The names in the order of starting, each once. Raises InvalidInput for one that is no service."""
    for name in names:
        if name not in SERVICES:
            raise InvalidInput(f"there is no service {name!r}; the services are {', '.join(SERVICES)}")
    return tuple(name for name in SERVICES if name in names)


def load(name: str) -> OpenService:
    """Imports a service."""
    return cast("OpenService", import_module(f"astromesh_{name}.app").open_service)


def _opener(name: str) -> OpenService:
    @asynccontextmanager
    async def opened(platform: Platform) -> AsyncGenerator[Registrar | None]:
        async with load(name)(platform) as registrar:
            yield registrar

    return opened
