"""What services told of a resource unasked, newest word on each condition. Pure; hearing it stands in `listening`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import orjson
from pydantic import TypeAdapter

from astromesh.v1.control_pb2 import Observation, ResourceStatus
from astromesh_core.resources.conditions import READY, SERVICE_DISABLED, Condition
from astromesh_operator.judging import NOT_ANSWERED
from astromesh_operator.observing import Observed
from astromesh_operator.statuses import read_condition

_OWN_REASONS: Final = (SERVICE_DISABLED, NOT_ANSWERED)
"""The operator's own, where nobody told."""

_FIGURES: Final = TypeAdapter(dict[str, int | float | str])


@dataclass
class Told:
    """Of one version of one resource; observations of another version begin anew."""

    sha256: bytes = b""
    conditions: dict[str, Condition] = field(default_factory=dict[str, Condition])
    figures: dict[str, int | float | str] = field(default_factory=dict[str, int | float | str])

    def hear(self, observation: Observation) -> None:
        """Takes an observation in. A condition that it does not name stands as it was told before."""
        if observation.ref.sha256 != self.sha256:
            self.sha256 = observation.ref.sha256
            self.conditions.clear()
        self.conditions.update({record.type: read_condition(record) for record in observation.conditions})
        self.figures.update(_FIGURES.validate_json(observation.figures_json or "{}"))

    def beside(self, asked: Observed, sha256: bytes) -> Observed:
        """What was asked and what was told of this version, together; what was asked is newer. Figures outlive a
        version."""
        known = {condition.type for condition in asked.conditions}
        current = self.conditions.values() if sha256 == self.sha256 else ()
        told = [condition for condition in current if condition.type not in known]
        return Observed((*asked.conditions, *told), {**self.figures, **asked.figures})


def remembered(status: ResourceStatus) -> Told:
    """What had been told before the operator started, as far as the status shows it."""
    told = (record for record in status.conditions if record.type != READY and record.reason not in _OWN_REASONS)
    conditions = {record.type: read_condition(record) for record in told}
    figures = _FIGURES.validate_python(orjson.loads(status.figures_json or "{}"))
    return Told(status.ref.sha256, conditions, figures)
