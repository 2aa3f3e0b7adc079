"""Names of sessions and runs, and the partition they belong to. Keyed, so that no tenant can guess another's."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from typing import NewType

from astromesh_core.errors import InvalidInput

MeshKey = NewType("MeshKey", bytes)
"""The mesh's secret for keyed hashes: 32 random bytes, never in a log, an event or a reply."""

PARTITIONS = 64
DEFAULT_NAMESPACE = "default"
"""Of whoever names none."""

NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""A DNS label (RFC 1123): a namespace stands in subjects as it is."""

_ID_BYTES = 16
_RUN_ID = re.compile(r"(?P<partition>[0-9]{2})-[a-z2-7]{26}")


def session_key(key: MeshKey, namespace: str, agent: str, session: str) -> str:
    """The session's name in subjects: 26 characters, no user text in it."""
    return _keyed(key, "session", namespace, agent, session)


def partition_of(session: str) -> int:
    """The partition, 0 to 63, of a session key."""
    # The key is a keyed hash already, so two of its characters (5 bits each) are as good as a new one.
    first, second = base64.b32decode(session[:8].upper())[:2]
    return ((first << 8) | second) % PARTITIONS


def run_id(key: MeshKey, session: str, principal: str, idempotency_key: str) -> str:
    """The one run of this caller, session and idempotency key: the same arguments give the same id.

    `session` is a session key, which stands for namespace, agent and session.
    """
    return f"{partition_of(session):02d}-{_keyed(key, 'run', session, principal, idempotency_key)}"


def random_run_id(session: str) -> str:
    """A new run in the partition of the session key."""
    return f"{partition_of(session):02d}-{_base32(secrets.token_bytes(_ID_BYTES))}"


def random_session() -> str:
    """An id for a session that nobody named."""
    return _base32(secrets.token_bytes(_ID_BYTES))


def derived_session(key: MeshKey, principal: str, agent: str, idempotency_key: str) -> str:
    """The session of a request with an idempotency key and no session: the same for a retry."""
    return _keyed(key, "derived-session", principal, agent, idempotency_key)


def partition_of_run(run: str) -> int:
    """The partition at the front of a run id. Raises InvalidInput for anything that is no run id."""
    match = _RUN_ID.fullmatch(run)
    partition = int(match["partition"]) if match else PARTITIONS
    if partition >= PARTITIONS:
        raise InvalidInput(f"{run[:80]!r} is not a run id: expected two digits, a dash and 26 characters of a-z2-7")
    return partition


def mesh_name(key: MeshKey) -> str:
    """Tells meshes apart that keep their rows in one database."""
    return _keyed(key, "mesh")


def user_key(key: MeshKey, namespace: str, user: str) -> str:
    """A person whom a namespace's callers name, in events and stores that hold no name."""
    return _keyed(key, "user", namespace, user)


def owner_key(key: MeshKey, namespace: str, agent: str, principal: str, user: str) -> str:
    """Whose memories with an agent these are: the user as one API key names them. Another key's is another person."""
    return _keyed(key, "owner", namespace, agent, principal, user)


def request_mac(key: MeshKey, body: bytes) -> bytes:
    """Tells a retry from another request under the same idempotency key, and reveals nothing of the body."""
    return hmac.digest(key, b"request\0" + body, "sha256")


def check_namespace(namespace: str) -> str:
    """The namespace itself. Raises InvalidInput unless it is a DNS label."""
    if not NAMESPACE.fullmatch(namespace):
        raise InvalidInput(f"namespace {namespace[:80]!r} is not a DNS label (a-z, 0-9 and -, at most 63 characters)")
    return namespace


def _keyed(key: MeshKey, *parts: str) -> str:
    # Lengths in front, so that no two lists of parts run into the same bytes.
    message = b"".join(len(data).to_bytes(4, "big") + data for data in (part.encode() for part in parts))
    return _base32(hmac.digest(key, message, "sha256")[:_ID_BYTES])


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()
