"""What tools of every type work with: given once, by whoever builds the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from astromesh.v1.values_pb2 import StoredValue
from astromesh_core.outbound import Outbound
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_tools.tool import Clock


class KeptValues(Protocol):
    """The object store: values by the hash of their bytes."""

    async def put(self, data: bytes) -> StoredValue:
        """Stores the bytes and returns when they are on disk."""
        ...

    async def get(self, value: StoredValue) -> bytes:
        """The bytes. Raises NotFound."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """Threads for what blocks, the way out, the time, the environment, and the folders of this mesh."""

    threads: DaemonThreads
    outbound: Outbound
    clock: Clock
    environ: Mapping[str, str]
    config_folder: Path
    """Relative paths of resources start here."""
    data_folder: Path
    """Holds the keys of the mesh; no tool reads it."""
    values: KeptValues
    """Where the whole of a result is that is too long for a model."""
