"""The configuration file of the embedded server. Written as JSON, which the server's format includes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from astromesh_core.bus.credentials import Credentials
from astromesh_core.bus.permissions import permissions_of

MAX_PAYLOAD_BYTES = 8 << 20
"""Of one message, headers included. Larger values are cut into chunks."""

_MEMORY_STORE_BYTES = 64 << 20
_LOG_BYTES = 10 << 20


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What differs between two embedded servers. Port -1 asks the system for a free one."""

    folder: Path
    port: int
    max_store_bytes: int | None


def render(settings: ServerSettings, users: Iterable[Credentials]) -> str:
    """The file's text. It holds passwords: keep it readable by its owner alone."""
    jetstream: dict[str, str | int] = {
        "store_dir": str(settings.folder / "store"),
        # An acknowledged event must survive a power cut; the server's own default syncs every two minutes.
        "sync_interval": "always",
        "max_memory_store": _MEMORY_STORE_BYTES,
    }
    if settings.max_store_bytes is not None:
        jetstream["max_file_store"] = settings.max_store_bytes
    return json.dumps(
        {
            "server_name": "astromesh",
            "host": "127.0.0.1",
            "port": settings.port,
            "max_payload": MAX_PAYLOAD_BYTES,
            "jetstream": jetstream,
            "ports_file_dir": str(settings.folder),
            "log_file": str(settings.folder / "server.log"),
            "logfile_size_limit": _LOG_BYTES,
            "authorization": {"users": [_user(credentials) for credentials in users]},
        },
        indent=1,
    )


def _user(credentials: Credentials) -> dict[str, object]:
    permissions = permissions_of(credentials.user)
    publish: dict[str, list[str]] = {"allow": list(permissions.publish)}
    if permissions.deny_publish:
        publish["deny"] = list(permissions.deny_publish)
    return {
        "user": credentials.user,
        "password": credentials.password,
        "permissions": {"publish": publish, "subscribe": {"allow": list(permissions.subscribe)}},
    }
