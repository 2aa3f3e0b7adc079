"""`astromesh up`, all services in one process, and `astromesh serve`, some of them. The processes of `up --processes`
stand in `processes`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from astromesh_cli.serving.chosen import Chosen
from astromesh_cli.serving.placement import openers
from astromesh_core.launcher import Beside, Mesh, run_services
from astromesh_core.rpc.sockets import socket_address
from astromesh_core.settings import Settings

_SOCKET = "unix:"


def run_mesh(how: Chosen, beside: Beside | None = None) -> int:
    """Runs the services, and what is to go on beside them, until it is told to stop; the exit code."""
    return run_services(openers(how.services), how.settings, beside=beside or _greet)


def serve_services(names: Sequence[str], settings: Settings) -> int:
    """Runs these services as one process for others of the mesh, until it is told to stop; the exit code."""
    sockets = [socket_address(settings.data_dir, name) for name in openers(names)]
    if settings.rpc_address:
        return run_services(openers(names), settings, settings.rpc_address)
    with _also_at(sockets[0], sockets[1:]):
        return run_services(openers(names), settings, sockets[0])


async def _greet(mesh: Mesh) -> None:
    from astromesh_cli.serving.greeting import greet

    await greet(mesh)


@contextmanager
def _also_at(address: str, others: Sequence[str]) -> Generator[None]:
    """Has the services of one process found at the socket of each."""
    links = [Path(other.removeprefix(_SOCKET)) for other in others]
    for link in links:
        link.unlink(missing_ok=True)
        link.symlink_to(address.removeprefix(_SOCKET))
    try:
        yield
    finally:
        for link in links:
            link.unlink(missing_ok=True)
