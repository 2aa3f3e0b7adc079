"""What a run's log holds of humans and of undoing, found by path. Grows by `add`, in log order. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from astromesh.v1.run_events_pb2 import (
    ApprovalDecided,
    ApprovalRequested,
    CompensationStarted,
    QuestionAnswered,
    QuestionAsked,
    RunEvent,
    StepCompensationBegun,
    StepCompensationFailed,
)

ASKING_EVENTS: Final = frozenset({"approval_requested", "question_asked"})
INTERVENTIONS: Final = ASKING_EVENTS | {
    "approval_decided",
    "question_answered",
    "step_reconciled",
    "compensation_started",
    "step_compensation_begun",
    "step_compensated",
    "step_compensation_failed",
}
"""The events that are taken here."""


@dataclass(slots=True)
class Ask:
    """What a human is asked at a path."""

    event: ApprovalRequested | QuestionAsked
    decision: ApprovalDecided | QuestionAnswered | None = None

    @property
    def path(self) -> str:
        """The call's."""
        return self.event.path


@dataclass(slots=True)
class Interventions:
    """By path. Of most runs nothing."""

    asks: dict[str, Ask] = field(default_factory=dict[str, Ask])
    looked_up: dict[str, int] = field(default_factory=dict[str, int])
    """How often it was looked up what became of a write."""
    compensation: CompensationStarted | None = None
    undoing: dict[str, list[StepCompensationBegun]] = field(default_factory=dict[str, list[StepCompensationBegun]])
    undone: set[str] = field(default_factory=set[str])
    stuck: dict[str, StepCompensationFailed] = field(default_factory=dict[str, StepCompensationFailed])
    """Steps that could not be undone: the run waits for a human."""
    left: dict[str, str] = field(default_factory=dict[str, str])
    """Steps that a human left as they are, by whom."""

    def pending(self) -> list[Ask]:
        """What nobody has decided, of a run that is not being undone."""
        return [ask for ask in self.asks.values() if ask.decision is None and self.compensation is None]

    def add(self, event: RunEvent) -> None:
        """Takes an event of `INTERVENTIONS`."""
        match event.WhichOneof("event"):
            case "approval_requested":
                self.asks[event.approval_requested.path] = Ask(event.approval_requested)
            case "question_asked":
                self.asks[event.question_asked.path] = Ask(event.question_asked)
            case "approval_decided":
                self._decide(event.approval_decided)
            case "question_answered":
                self._decide(event.question_answered)
            case "step_reconciled":
                path = event.step_reconciled.path
                self.looked_up[path] = self.looked_up.get(path, 0) + 1
            case _:
                self._add_undoing(event)

    def _decide(self, decision: ApprovalDecided | QuestionAnswered) -> None:
        ask = self.asks.get(decision.path)
        if ask is not None and ask.decision is None:
            ask.decision = decision

    def _add_undoing(self, event: RunEvent) -> None:
        match event.WhichOneof("event"):
            case "compensation_started":
                self.compensation = event.compensation_started
            case "step_compensation_begun":
                begun = event.step_compensation_begun
                self.undoing.setdefault(begun.path, []).append(begun)
            case "step_compensated":
                self.undone.add(event.step_compensated.path)
                self.stuck.pop(event.step_compensated.path, None)
            case _:
                failed = event.step_compensation_failed
                if failed.resolved_by:
                    self.left[failed.path] = failed.resolved_by
                    self.stuck.pop(failed.path, None)
                else:
                    self.stuck[failed.path] = failed
