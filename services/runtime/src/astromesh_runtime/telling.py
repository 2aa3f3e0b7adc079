"""What of a reply its caller is told while it is written: what the agent's output rules let go, with masks undone."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from astromesh.v1.guardrails_pb2 import CheckPartRequest, PartState
from astromesh_core.errors import AstromeshError
from astromesh_core.events.masks import Restoring
from astromesh_runtime.effects import CallModel
from astromesh_runtime.scope import RunScope

PART_SECONDS = 10.0

log = structlog.get_logger("astromesh.runtime")


def is_told(scope: RunScope, effect: CallModel) -> bool:
    """Whether a reply is told while it is written: not one that must be seen whole first."""
    started = scope.recorded.started
    if not effect.is_heard or effect.output_schema_json or started is None:
        return False
    return not started.checks_output or started.streams_checked


def teller(scope: RunScope) -> Teller | None:
    """What a reply goes through before it is told; None of a run whose replies are told as they come."""
    started = scope.recorded.started
    if started is None or not (started.checks_output or started.masks):
        return None
    return Teller(scope, checks=started.checks_output, restores=started.masks)


class Teller:
    """One reply on its way. What the rules cannot be asked of is not told: the answer comes when it is whole."""

    def __init__(self, scope: RunScope, *, checks: bool, restores: bool) -> None:
        self._scope = scope
        self._checks = checks
        self._restoring = Restoring(scope.recorded.masks) if restores else None
        self._states: Sequence[PartState] = ()
        self._gone = False

    async def put(self, text: str, *, last: bool = False) -> str:
        """What can be told now that this follows."""
        if self._checks:
            text = await self._checked(text, last)
        if self._restoring is None or self._gone:
            return text
        restored = self._restoring.put(text)
        return restored + self._restoring.end() if last else restored

    async def _checked(self, text: str, last: bool) -> str:
        if self._gone:
            return ""
        scope = self._scope
        request = CheckPartRequest(agent=scope.agent.ref, text=text, states=self._states, last=last)
        try:
            response = await scope.services.guardrails.CheckPart(request, timeout=PART_SECONDS)
        except AstromeshError as error:
            log.info("an answer is told when it is whole", run_id=scope.run_id, reason=error.message)
            self._gone = True
            return ""
        self._states = response.states
        return response.text
