"""What readiness says of everything behind the gateway: its resources, the workers, and each service that runs in
another process. Only the gateway looks at others, so that no two processes wait for each other."""

from __future__ import annotations

import time

from astromesh_core.bus.loads import HeardLoads
from astromesh_core.bus.owners import partition_owners
from astromesh_core.events.identity import PARTITIONS
from astromesh_core.readiness import Check, Health
from astromesh_core.resources.conditions import switched_off
from astromesh_core.service import Platform
from astromesh_gateway.directory import Directory

OWNERS_STAND_SECONDS = 5.0
"""How long the records of owners are believed while the same workers live."""

_ITSELF = "gateway"
_CONTROL_PLANE = "operator"


def register_checks(platform: Platform, directory: Directory, loads: HeardLoads) -> None:
    """Adds the gateway's checks to the readiness of its process, each service under its name."""
    readiness, connections = platform.readiness, platform.connections
    readiness.register("resources", directory.health)
    readiness.register("workers", _unless_switched_off("runtime", _Workers(platform, loads), directory))
    for service in connections.elsewhere:
        if service == _CONTROL_PLANE:
            readiness.register(service, _needed_at_first(connections.health(service), directory))
        elif service != _ITSELF:
            readiness.register(service, _unless_switched_off(service, connections.health(service), directory))


def _unless_switched_off(service: str, check: Check, directory: Directory) -> Check:
    """Nobody misses what runtime.yaml switches off; where it runs all the same, it is shown as it is."""

    async def checked() -> Health:
        health = await check()
        off = not health.ok and service in directory.switched_off()
        return Health(True, switched_off(service)) if off else health

    return checked


def _needed_at_first(operator: Check, directory: Directory) -> Check:
    """Without the control plane the mesh works on with the resources it has; it needs one to get any."""

    async def checked() -> Health:
        health = await operator()
        works_on = not health.ok and directory.synced.is_set() and bool(directory.records())
        return Health(True, f"{health.reason}; the mesh works on with the resources it has") if works_on else health

    return checked


class _Workers:
    """Every partition is owned by a worker that tells its load. The records are read again only now and then."""

    def __init__(self, platform: Platform, loads: HeardLoads) -> None:
        self._bus = platform.bus
        self._loads = loads
        self._served: frozenset[str] = frozenset()
        self._read_at = 0.0

    async def __call__(self) -> Health:
        """Green where all partitions are owned."""
        workers = frozenset(self._loads.workers())
        if not workers:
            return Health(False, "no runtime worker tells its load")
        if workers != self._served or time.monotonic() - self._read_at > OWNERS_STAND_SECONDS:
            owners = await partition_owners(self._bus)
            served = sum(owner in workers for owner in owners.values())
            if served < PARTITIONS:
                return Health(False, f"{served} of {PARTITIONS} partitions are owned by {len(workers)} workers")
            self._served, self._read_at = workers, time.monotonic()
        return Health(True, f"all {PARTITIONS} partitions are owned by {len(workers)} workers")
