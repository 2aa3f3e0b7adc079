"""In which backend an agent's conversations lie, by what it declares. Pure but for looking which drivers are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from astromesh_core.resources.agent_memory import ConversationalMemory
from astromesh_core.resources.connections import BackendAddress, postgres_address, redis_address
from astromesh_core.resources.extras import CONVERSATION_EXTRAS
from astromesh_core.resources.stores import Connection


class Target(NamedTuple):
    """A backend: agents that declare the same share it."""

    backend: str
    """sqlite, redis, postgres, or a class's import path."""
    connection_json: str = ""
    """The declared connection, secrets as references."""

    @property
    def connection(self) -> Connection | None:
        """The connection; None where none is declared, and the environment says where the backend is."""
        return Connection.model_validate_json(self.connection_json) if self.connection_json else None

    @property
    def shown(self) -> str:
        """For people; holds no secret."""
        return self.backend


SQLITE: Final = Target("sqlite")


def target_of(memory: ConversationalMemory) -> Target:
    """Where the conversations lie; in SQLite where the driver of what is named is missing and nobody forbids that."""
    extra = CONVERSATION_EXTRAS.get(memory.backend)
    if memory.backend == "sqlite" or (extra is not None and not extra.installed and not memory.strict):
        return SQLITE
    return Target(memory.backend, "" if memory.connection is None else memory.connection.to_json())


def address_of(target: Target, environ: Mapping[str, str]) -> BackendAddress:
    """The address of Redis or PostgreSQL with its secrets. Raises InvalidInput for a variable that is not set."""
    read = redis_address if target.backend == "redis" else postgres_address
    return read(target.connection, environ)
