"""What `astromesh up` prints when the mesh is ready, and when it is not. Plain text: it is read in logs too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from time import monotonic
from typing import Final

from astromesh_core.launcher import Mesh
from astromesh_core.settings import Settings

PATIENCE_SECONDS: Final = 15.0
"""After this long without becoming ready it is said what is missing, once."""

_POLL_SECONDS: Final = 0.05
_ANY_ADDRESS: Final = ("0.0.0.0", "::")

Missing = Callable[[], Awaitable[str]]
"""Why the mesh is not ready; "" where it is."""


async def greet_when_ready(
    settings: Settings, missing: Missing, agents: Callable[[], Awaitable[Sequence[str]]]
) -> None:
    """Waits until nothing is missing, then tells where the mesh is and what to try."""
    begun, told = monotonic(), False
    while reason := await missing():
        if monotonic() - begun > PATIENCE_SECONDS and not told:
            told = True
            print(f"Astromesh is not ready yet: {reason}", flush=True)
        await asyncio.sleep(_POLL_SECONDS)
    print(greeting(settings, await agents()), flush=True)


async def greet(mesh: Mesh) -> None:
    """Greets for the mesh of this process."""

    async def missing() -> str:
        report = await mesh.platform.readiness.report()
        red = [f"{name}: {health.reason}" for name, health in report.checks.items() if not health.ok]
        return "; ".join(red)

    async def agents() -> list[str]:
        return [record.ref.name for record in await mesh.platform.bus.resources.list("Agent", "default")]

    await greet_when_ready(mesh.platform.settings, missing, agents)


def greeting(settings: Settings, agents: Sequence[str]) -> str:
    """Where the mesh is and what to try."""
    url = address(settings)
    prefix = "" if settings.port == 8000 else f"ASTROMESH_URL={url} "
    lines = [
        f"Astromesh {version('astromesh')} is ready.",
        f"  HTTP    {url}  (documentation at {url}/docs)",
        f"  gRPC    {_host(settings)}:{settings.grpc_port}",
        f"  config  {settings.config_dir}",
        f"  data    {settings.data_dir}",
    ]
    if agents:
        lines += [f"  agents  {', '.join(agents)}", f"Talk with one: {prefix}astromesh chat {agents[0]}"]
    else:
        lines += ["There is no agent yet: write one to agents/NAME.agent.yaml in the config folder."]
    return "\n".join([*lines, "Ctrl-C stops it."])


def address(settings: Settings) -> str:
    """Where clients on this machine reach HTTP."""
    return f"http://{_host(settings)}:{settings.port}"


def _host(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in _ANY_ADDRESS else settings.host
    return f"[{host}]" if ":" in host else host
