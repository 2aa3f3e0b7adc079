"""What every service is given, and what it gives back. A service's `app.py` builds it from the platform."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from astromesh_core.bus.connection import Bus
from astromesh_core.errors import InvalidInput, PermanentError
from astromesh_core.events.identity import MeshKey
from astromesh_core.readiness import Readiness
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.ports import Registrar
from astromesh_core.settings import Settings
from astromesh_core.telemetry.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Platform:
    """What the services of one process share. Whoever composed the process owns all of it."""

    settings: Settings
    bus: Bus
    connections: Connections
    telemetry: Telemetry
    readiness: Readiness
    mesh_key: MeshKey
    instance: str
    """Names this process among its like, in leases, consumers and traces. New at every start."""


OpenService = Callable[[Platform], AbstractAsyncContextManager[Registrar | None]]
"""A service: entered it serves, left it drains. It yields what adds its servicers, or None where nobody calls it."""


def run_service(name: str, open_service: OpenService) -> None:
    """Runs one service as this process, with gRPC for the others, until SIGTERM or SIGINT; then drains and exits.

    Exits 0 after draining, else with a code that says whom it concerns (`launcher.EXIT_CODES`).
    """
    # Imported here because the launcher knows the platform.
    from astromesh_core.launcher import EXIT_CODES, run_services
    from astromesh_core.rpc.sockets import socket_address
    from astromesh_core.settings import load_settings

    try:
        settings = load_settings()
    except InvalidInput as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(EXIT_CODES[PermanentError])
    address = settings.rpc_address or socket_address(settings.data_dir, name)
    sys.exit(run_services({name: open_service}, settings, address))
