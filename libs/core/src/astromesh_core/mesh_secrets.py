"""Secrets that a mesh generates for itself once and keeps in its data folder, readable by their owner alone."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from astromesh_core.errors import InvalidInput
from astromesh_core.events.identity import MeshKey
from astromesh_core.settings import Settings

_BYTES = 32
_FORM = re.compile(r"[0-9a-f]{64}")


def mesh_key(settings: Settings) -> MeshKey:
    """The key of the mesh's names: from the settings, else from the data folder, generated at the first call."""
    given = settings.mesh_key.get_secret_value()
    return MeshKey(bytes.fromhex(_checked(given, "ASTROMESH_MESH_KEY") if given else _kept(settings, "mesh-key")))


def mesh_token(settings: Settings) -> str:
    """What the mesh's services show each other: from the settings, else from the data folder, generated at the first
    call."""
    return settings.mesh_token.get_secret_value() or _kept(settings, "mesh-token")


def audit_key(settings: Settings) -> bytes:
    """The private key that signs the heads of the log's tree: 32 bytes, from the data folder, generated at the first
    call. Who holds it can vouch for anything, so it is kept as the log itself is."""
    return bytes.fromhex(_kept(settings, "audit-key"))


def _kept(settings: Settings, name: str) -> str:
    path = settings.data_dir / "keys" / name
    if not path.exists():
        _create(path, secrets.token_hex(_BYTES))
    return _checked(path.read_text(encoding="ascii").strip(), str(path))


def _create(path: Path, value: str) -> None:
    """Writes the file whole or not at all. Of several processes that try at once, one wins and all read its value."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _checked(value: str, where: str) -> str:
    if not _FORM.fullmatch(value):
        raise InvalidInput(f"{where} holds no secret of the mesh: expected 64 hexadecimal digits.")
    return value
