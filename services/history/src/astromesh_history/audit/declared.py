"""What the mesh's RuntimeConfig says of auditing, followed as it changes, and what comes of it as a condition.

Only what stands in the config folder or in Kubernetes is heeded: who may write resources over the API may not choose
files that this process writes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from astromesh.v1.audit_pb2 import Anchor
from astromesh.v1.control_pb2 import CONDITION_STATUS_FALSE, CONDITION_STATUS_TRUE, MANAGED_BY_API, Condition
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.observations import Observations
from astromesh_core.bus.resource_store import ResourceChange
from astromesh_core.errors import TemporaryError
from astromesh_core.events.identity import DEFAULT_NAMESPACE
from astromesh_core.resources.audit import Audit
from astromesh_core.resources.runtime_config import RuntimeConfigSpec
from astromesh_core.telemetry.logs import logger
from astromesh_history.audit.keeping import AuditTree
from astromesh_history.audit.places import place_of

ANCHORED: Final = "AuditAnchored"

_log = logger(__name__)


class Declared:
    """Keeps the tree's settings as they are declared, and tells how its anchors are doing."""

    def __init__(self, tree: AuditTree, observations: Observations) -> None:
        self._tree = tree
        self._observations = observations
        self._ref: ResourceRef | None = None
        self._refused = ""

    async def follow(self, changes: AsyncGenerator[ResourceChange, None]) -> None:
        """Configures the tree with each change, until cancelled."""
        async with aclosing(changes):
            async for change in changes:
                if change.kind == "RuntimeConfig" and change.namespace == DEFAULT_NAMESPACE:
                    self._take(change)
                    await self.tell()

    async def tell(self) -> None:
        """Tells the operator whether every anchor holds what was told last."""
        if self._ref is None:
            return
        condition = condition_of(self._tree.anchors(), self._refused)
        try:
            await self._observations.tell(self._ref, [condition] if condition else [], {})
        except TemporaryError as error:
            _log.warning("how anchors are doing could not be told", reason=error.message)

    def _take(self, change: ResourceChange) -> None:
        record = change.record
        self._ref = record.ref if record is not None else None
        audit = Audit() if record is None else RuntimeConfigSpec.model_validate_json(record.spec_json).audit
        self._refused = ""
        if record is not None and record.managed_by == MANAGED_BY_API and audit.anchors:
            self._refused = "anchors are declared in the config folder or in Kubernetes, not over the API"
            audit = Audit(interval_seconds=audit.interval_seconds)
        self._tree.configure(audit.interval_seconds, [place_of(anchor) for anchor in audit.anchors])


def condition_of(anchors: Sequence[Anchor], refused: str) -> Condition | None:
    """AuditAnchored; None where no anchor is declared."""
    if refused:
        return Condition(type=ANCHORED, status=CONDITION_STATUS_FALSE, reason="Refused", message=refused)
    if not anchors:
        return None
    trouble = "; ".join(f"{anchor.place}: {anchor.trouble}" for anchor in anchors if anchor.trouble)
    if trouble:
        return Condition(type=ANCHORED, status=CONDITION_STATUS_FALSE, reason="NotAnchored", message=trouble)
    told = f"{len(anchors)} anchors" if len(anchors) > 1 else anchors[0].place
    return Condition(type=ANCHORED, status=CONDITION_STATUS_TRUE, reason="Anchored", message=told)
