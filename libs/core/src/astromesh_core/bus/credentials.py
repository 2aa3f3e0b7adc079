"""How a service proves to the server who it is: generated passwords, one file each, readable by their owner alone."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from astromesh_core.errors import InvalidInput, NotFound

_PASSWORD_BYTES = 32


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user of the server and its password, which no repr shows."""

    user: str
    password: str = field(repr=False)


def ensure_credentials(folder: Path, user: str) -> Credentials:
    """The user's credentials in the folder; generated at the first call (file mode 0600)."""
    path = credentials_path(folder, user)
    if path.exists():
        return load_credentials(path)
    created = Credentials(user, secrets.token_urlsafe(_PASSWORD_BYTES))
    write_private(path, json.dumps({"user": created.user, "password": created.password}))
    return created


def credentials_path(folder: Path, user: str) -> Path:
    """Where the user's credentials lie."""
    return folder / f"{user}.json"


def load_credentials(path: Path) -> Credentials:
    """Reads a credentials file. Raises NotFound or InvalidInput, naming the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Credentials(str(content["user"]), str(content["password"]))
    except FileNotFoundError as error:
        raise NotFound(f"there is no credentials file {path}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is no credentials file: expected JSON with user and password") from error


def write_private(path: Path, content: str) -> None:
    """Replaces the file in one step; it is never readable by others, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    draft.replace(path)
