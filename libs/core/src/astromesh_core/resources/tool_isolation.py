"""Python functions that run in a process of their own: what an agent's file says of it. Running them is the tools
service's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from astromesh_core.resources.spelling import Spec


class Isolation(Spec):
    """Each call runs in a process that ends with it. Limits hold for that process, and for each that it starts."""

    process: Literal[True] = True
    memory_mb: int | None = Field(default=None, ge=16, le=1_048_576)
    """What the call may take beyond what the interpreter itself has. None: no limit."""
    cpu_seconds: int | None = Field(default=None, ge=1, le=86_400)
    """None: no limit but the tool's timeout."""
