"""What a resource says of a circuit breaker: when what fails is left alone. The rules: `astromesh_core.breaker`."""

from __future__ import annotations

from pydantic import Field

from astromesh_core.resources.spelling import Spec, spelled


class CircuitBreaker(Spec):
    """When what fails is left alone, and for how long."""

    failure_threshold: int = Field(default=3, ge=1)
    cooldown_seconds: float = Field(default=60, gt=0, validation_alias=spelled("cooldown_seconds", "recovery_timeout"))
