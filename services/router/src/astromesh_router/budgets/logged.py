"""What the log knows to be spent, out of history's sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astromesh.v1.history_pb2 import SumCostsRequest
from astromesh_core.errors import AstromeshError
from astromesh_core.telemetry.logs import logger
from astromesh_router.budgets.scopes import Account

if TYPE_CHECKING:
    # Known to type checkers alone: at run time there is one kind of stub.
    from astromesh.v1.history_pb2_grpc import HistoryServiceAsyncStub

SECONDS = 2.0
"""How long a call that waits for its budget may wait for history too."""

_log = logger(__name__)


class LoggedSpend:
    """Asks history."""

    def __init__(self, history: HistoryServiceAsyncStub) -> None:
        self._history = history

    async def __call__(self, account: Account) -> int | None:
        """What the log holds of the account's scope and window, in its unit; None where history is away."""
        scope, window = account.scope, account.window
        request = SumCostsRequest(
            namespace=scope.namespace,
            agent=scope.agent,
            principal=scope.api_key,
            from_unix_nano=window.start,
            until_unix_nano=window.end,
        )
        try:
            total = (await self._history.SumCosts(request, timeout=SECONDS)).total
        except AstromeshError as error:
            _log.warning("a budget is not compared with the log", budget=account.key, reason=error.message)
            return None
        return total.cost_nanos if account.unit == "usd" else total.usage.input_tokens + total.usage.output_tokens


async def unlogged(account: Account) -> int | None:
    """Stands in where no history can be reached from here: nobody knows."""
    _log.warning("a budget is not compared with the log", budget=account.key, reason="this router knows no history")
    return None
