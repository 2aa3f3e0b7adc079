"""Child runs in the bus: who they are, their admission, their end, and the signals between them and their parents.

What a run makes of its children stands in `child_calls`.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from typing import Final

from astromesh.v1.run_events_pb2 import Lineage, RunEvent, RunRequested
from astromesh.v1.signal_pb2 import CancelSignal, ChildSignal, Signal
from astromesh_core.bus.admitting import append_request
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.log import AppendConflict
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.events.contents import text_content
from astromesh_core.events.identity import MeshKey, derived_session, request_mac, run_id, session_key
from astromesh_core.events.runs import is_terminal
from astromesh_core.rpc.identity import Caller
from astromesh_runtime.effects import CallAgent
from astromesh_runtime.scope import Clock

_DIGEST_KEY_BYTES: Final = 16


def ended_signal(child_run_id: str) -> str:
    """The id of the signal that the child has ended: there is one."""
    return f"{child_run_id}:ended"


@dataclass(frozen=True, slots=True)
class Parent:
    """Who waits for a run, and at which of its steps."""

    run_id: str
    path: str

    @classmethod
    def of(cls, requested: RunRequested) -> Parent | None:
        """The parent of a run; None of one that a caller asked for."""
        if not requested.HasField("lineage"):
            return None
        return cls(requested.lineage.ancestors[-1].run_id, requested.lineage.path)


@dataclass(frozen=True, slots=True)
class ChildRuns:
    """Admits, finds and cancels the children of runs. Every call may be repeated: it changes nothing more."""

    bus: Bus
    key: MeshKey
    producer: str
    clock: Clock

    def name(self, parent: Caller, parent_run_id: str, effect: CallAgent) -> str:
        """The id of the child: one for each effect of a run, whoever asks and however often."""
        return self._identity(parent, parent_run_id, effect)[0]

    async def admit(
        self, parent: RunRequested, effect: CallAgent, lineage: Lineage, namespace: str, traceparent: str
    ) -> None:
        """Stores the child's request, on behalf of the parent's caller, in a session of its own. One that is there
        already stays as it is."""
        above = lineage.ancestors[-1].run_id
        caller = Caller(parent.principal, namespace, parent.role)
        identity, session, key = self._identity(caller, above, effect)
        requested = RunRequested(
            agent=effect.agent,
            session_key=key,
            session_id=text_content(session),
            query=text_content(effect.query),
            principal=parent.principal,
            request_mac=request_mac(self.key, effect.sha256),
            digest_key=text_content(base64.b64encode(secrets.token_bytes(_DIGEST_KEY_BYTES)).decode()),
            uses_memory=True,
            surface=parent.surface,
            private_session=True,
            user_key=parent.user_key,
            role=parent.role,
            lineage=lineage,
        )
        if effect.transcript is not None:
            requested.transcript.extend(effect.transcript.messages)
        if parent.HasField("context"):
            requested.context.CopyFrom(parent.context)
        if parent.HasField("user"):
            requested.user.CopyFrom(parent.user)
        try:
            await append_request(
                self.bus.log,
                self.bus.values,
                run_aggregate(namespace, identity),
                requested,
                time_unix_nano=self.clock(),
                producer=self.producer,
                traceparent=traceparent,
            )
        except AppendConflict:
            return

    async def end_of(self, namespace: str, child_run_id: str) -> RunEvent | None:
        """The event that ended the run, its contents fetched; None where it has not ended."""
        tail = await self.bus.log.tail(run_aggregate(namespace, child_run_id))
        if tail is None or not is_terminal(tail.last.envelope.run):
            return None
        event = RunEvent()
        event.CopyFrom(tail.last.envelope.run)
        await self.bus.values.resolve_all(event)
        return event

    async def cancel(self, namespace: str, child_run_id: str, principal: str, reason: str) -> None:
        """Asks the child's owner to cancel it."""
        signal = self._signal(f"{child_run_id}:parent-ended", child_run_id)
        signal.principal = principal
        signal.cancel.CopyFrom(CancelSignal(reason=reason))
        await self.bus.signals.send(namespace, signal)

    async def tell(self, namespace: str, parent: Parent, child_run_id: str) -> None:
        """Tells the parent's owner that the child has ended."""
        signal = self._signal(ended_signal(child_run_id), parent.run_id)
        signal.child.CopyFrom(ChildSignal(path=parent.path, child_run_id=child_run_id))
        await self.bus.signals.send(namespace, signal)

    def _signal(self, name: str, aggregate_id: str) -> Signal:
        return Signal(id=name, aggregate_id=aggregate_id, time_unix_nano=self.clock())

    def _identity(self, caller: Caller, above: str, effect: CallAgent) -> tuple[str, str, str]:
        own = f"{above}:{effect.path}"
        session = derived_session(self.key, caller.principal, effect.agent, own)
        key = session_key(self.key, caller.namespace, effect.agent, session)
        return run_id(self.key, key, caller.principal, own), session, key
