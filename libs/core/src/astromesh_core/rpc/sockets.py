"""Where services of one machine find each other when no address is configured: sockets that only their owner can
open."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

_LONGEST_PATH = 100
"""Bytes; the kernel allows 107 (unix(7))."""


def socket_address(data_dir: Path, service: str) -> str:
    """The address of a service of the mesh in this data folder. The same for everybody who asks; the folder is made
    (0700)."""
    folder = data_dir.absolute() / "run"
    if len(os.fsencode(folder / f"{service}.sock")) > _LONGEST_PATH:
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"astromesh-{os.getuid()}-{name}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return f"unix:{folder / f'{service}.sock'}"
