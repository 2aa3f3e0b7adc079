"""`astromesh up`, all services in one process. What they are stands in `placement`."""

from __future__ import annotations

from importlib.util import find_spec

from astromesh_cli.serving.placement import SERVICES, openers
from astromesh_core.launcher import Beside, run_services
from astromesh_core.settings import Settings


def run_mesh(settings: Settings, beside: Beside | None = None) -> int:
    """Runs every service, and what is to go on beside them, until it is told to stop; the exit code."""
    present = [name for name in SERVICES if find_spec(f"astromesh_{name}.app")]
    return run_services(openers(present), settings, beside=beside)
