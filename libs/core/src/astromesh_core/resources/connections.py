"""From a declared connection to the address that a driver takes, with its secrets put in. Connecting is the driver's.

PostgreSQL's addresses are libpq's, URLs or `key=value`
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING); those of Redis are URLs
(https://www.iana.org/assignments/uri-schemes/prov/redis).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, urlsplit

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.secrets import SecretKeyRef, resolve
from astromesh_core.resources.stores import Connection

POSTGRES = ("postgresql", "postgres")
REDIS = ("redis", "rediss", "unix")

_SETTING = re.compile(r"(\w+)\s*=\s*('(?:\\.|[^'\\])*'|(?:\\.|[^\s\\'])*)\s*")
_SHOWN_SETTINGS = ("host", "hostaddr", "port", "dbname")


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """Where a backend is: `text` is what a driver takes, and may hold a password; `shown` holds none."""

    text: str = field(repr=False)
    shown: str


def postgres_address(connection: Connection | None, environ: Mapping[str, str]) -> BackendAddress:
    """The address of a PostgreSQL database. What it leaves out, libpq takes from `PG*` variables and its defaults.

    Raises InvalidInput for what is no such address, for a variable that is not set, and where nothing is declared and
    PGHOST and PGSERVICE are not set; NotSupported for a secretKeyRef. Neither repeats the address.
    """
    if connection is None:
        return _of_environment(environ)
    text = _written(connection, environ, POSTGRES[0])
    # As SQLAlchemy names it, with the driver: postgresql+asyncpg://
    text = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", text)
    if "://" not in text and _SETTING.match(text):
        return _of_settings(text, _user(connection, environ))
    return _of_url(text, POSTGRES, _user(connection, environ), "postgresql://host:5432/database")


def redis_address(connection: Connection | None, environ: Mapping[str, str]) -> BackendAddress:
    """The address of a Redis database; where nothing is declared, REDIS_URL. Raises as `postgres_address` does."""
    if connection is None:
        if not environ.get("REDIS_URL"):
            raise InvalidInput("no connection to Redis is declared: write connection.url, or set REDIS_URL")
        connection = Connection(url="${REDIS_URL}")
    text = _written(connection, environ, REDIS[0])
    return _of_url(text, REDIS, _user(connection, environ), "redis://host:6379/0")


def _of_environment(environ: Mapping[str, str]) -> BackendAddress:
    named = next((environ[name] for name in ("PGHOST", "PGSERVICE") if environ.get(name)), None)
    if named is None:
        raise InvalidInput(
            "no connection to PostgreSQL is declared: write connection.url, or set PGHOST and PGDATABASE"
        )
    return BackendAddress("", f"{named}/{environ.get('PGDATABASE', '')}")


def _written(connection: Connection, environ: Mapping[str, str], scheme: str) -> str:
    """The address without user and password where these are fields of their own."""
    if connection.secret_key_ref is not None:
        return resolve(SecretKeyRef(secret_key_ref=connection.secret_key_ref), environ)
    if connection.url is not None:
        return resolve(connection.url, environ).strip()
    host = resolve(connection.host or "localhost", environ)
    place = f"[{host}]" if ":" in host else quote(host, safe="")
    port = "" if connection.port is None else f":{connection.port}"
    database = "" if connection.database is None else quote(resolve(connection.database, environ), safe="")
    return f"{scheme}://{place}{port}/{database}"


def _user(connection: Connection, environ: Mapping[str, str]) -> tuple[str, str]:
    user = "" if connection.user is None else resolve(connection.user, environ)
    return user, "" if connection.password is None else resolve(connection.password, environ)


def _of_url(text: str, schemes: tuple[str, ...], user: tuple[str, str], example: str) -> BackendAddress:
    parts = _split(text)
    if parts is None or parts.scheme not in schemes:
        raise InvalidInput(f"the connection is no {schemes[0]} address; write one such as {example}")
    given, _, hosts = parts.netloc.rpartition("@")
    had_user, _, had_password = given.partition(":")
    name = quote(user[0], safe="") or had_user
    password = quote(user[1], safe="") or had_password
    who = f"{name}:{password}@" if password else f"{name}@" if name else ""
    shown = f"{parts.scheme}://{hosts}{parts.path}"
    query = f"?{parts.query}" if parts.query else ""
    return BackendAddress(f"{parts.scheme}://{who}{hosts}{parts.path}{query}", shown)


def _split(text: str) -> SplitResult | None:
    try:
        return urlsplit(text)
    except ValueError:
        return None


def _of_settings(text: str, user: tuple[str, str]) -> BackendAddress:
    settings = dict(_SETTING.findall(text))
    shown = " ".join(f"{name}={settings[name]}" for name in _SHOWN_SETTINGS if name in settings)
    own = "".join(f" {name}={_quoted(value)}" for name, value in zip(("user", "password"), user, strict=True) if value)
    return BackendAddress(text + own, shown or "PostgreSQL")


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
