"""What single runs may spend. A run tells with each call what it has cost so far; here stands what it does not know of
yet: its calls under way, and candidates of the same call that broke off. Pure.

Nothing is shared among replicas: a run makes its calls one after the other, or a few at once from one worker.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_router.budgets.refusals import run_exceeded
from astromesh_router.budgets.scopes import NOTHING, Amounts, RunBound

KEPT_RUNS = 10_000
"""Runs that are remembered, the latest ones."""


@dataclass(slots=True)
class _Run:
    under_way: dict[str, Amounts] = field(default_factory=dict[str, Amounts])
    call: tuple[str, int] = ("", 0)
    """The latest call, as path and attempt. What earlier ones have cost the run knows."""
    settled: Amounts = NOTHING
    """What candidates of the latest call have cost."""

    def unknown(self) -> Amounts:
        """What the run may spend beyond what it tells."""
        return sum(self.under_way.values(), self.settled)


class RunBudgets:
    """The budgets of runs under way."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, _Run] = OrderedDict()

    def reserve(self, call: str, request: CompleteRequest, bounds: Sequence[RunBound], amounts: Amounts) -> None:
        """Sets the amounts aside for a call. Raises BudgetExceeded where a bound leaves too little."""
        run = self._run(request)
        told = Amounts(request.run_spend.cost_nanos, request.run_spend.tokens)
        spent = told + run.unknown()
        for bound in bounds:
            if spent.of(bound.unit) + amounts.of(bound.unit) > bound.limit:
                raise run_exceeded(bound, spent.of(bound.unit), amounts.of(bound.unit))
        run.under_way[call] = amounts

    def settle(self, run_id: str, call: str, amounts: Amounts) -> None:
        """The call cost this. Settling twice changes nothing."""
        run = self._runs.get(run_id)
        if run is not None and run.under_way.pop(call, None) is not None:
            run.settled += amounts

    def _run(self, request: CompleteRequest) -> _Run:
        run = self._runs.setdefault(request.run_id, _Run())
        self._runs.move_to_end(request.run_id)
        if len(self._runs) > KEPT_RUNS:
            self._runs.popitem(last=False)
        if run.call != (request.path, request.attempt):
            run.call, run.settled = (request.path, request.attempt), NOTHING
        return run
