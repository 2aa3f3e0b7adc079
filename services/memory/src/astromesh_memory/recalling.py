"""Which of a session's turns a run gets to see, by its agent's strategy. Pure.

sliding_window   the last turns
token_budget     the last turns that have no more tokens together than the budget
summary          the turns since the summary; those beyond the window are to be folded into it

A turn is what one run left: its question, its tool calls with their results, its answer. It is taken whole or left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from astromesh_core.conversations import Recalled, Summary, Turn
from astromesh_core.resources.agent_memory import ConversationalMemory

MAX_TOKENS: Final = 4_000
"""Of token_budget, where the agent declares no other."""

FOLDED_AT_ONCE: Final = 200
"""Turns that one call of a model folds into a summary at most."""

_NANO: Final = 1_000_000_000

Count = Callable[[Turn], int]


class Remembrance(NamedTuple):
    """What a run gets to see of its session."""

    turns: Sequence[Turn] = ()
    """Whole, oldest first."""
    summary: Summary | None = None
    """Of what came before `turns` and `to_fold`."""
    to_fold: Sequence[Turn] = ()
    """Between the summary and `turns`: to be folded into it before the model is asked."""
    tokens: int = 0
    """Of `turns`, where the strategy counts them."""
    expired_unix_nano: int = 0
    """When the last turn was that a pause has forgotten; 0 where none has."""


def asks_for(memory: ConversationalMemory) -> int:
    """How many of a session's last turns the strategy has to be given."""
    return 2 * memory.max_turns if memory.strategy == "summary" else memory.max_turns


def remembrance(memory: ConversationalMemory, recalled: Recalled, now_unix_nano: int, count: Count) -> Remembrance:
    """What the strategy lets through of what stands in the store."""
    turns, summary = _fresh(recalled, memory.ttl, now_unix_nano)
    left_out = len(recalled.turns) - len(turns)
    expired = recalled.turns[left_out - 1].time_unix_nano if left_out else 0
    return _chosen(memory, turns, summary, count)._replace(expired_unix_nano=expired)


def unfolded(turns: Sequence[Turn], summary: Summary | None) -> Sequence[Turn]:
    """The turns that the summary does not tell of. Where its last one is not among them, all are younger."""
    if summary is None:
        return turns
    told = next((at for at, turn in enumerate(turns) if turn.run_id == summary.through_run_id), -1)
    return turns[told + 1 :]


def _chosen(memory: ConversationalMemory, turns: Sequence[Turn], summary: Summary | None, count: Count) -> Remembrance:
    match memory.strategy:
        case "sliding_window":
            return Remembrance(turns[-memory.max_turns :])
        case "token_budget":
            return _within(turns[-memory.max_turns :], memory.max_tokens or MAX_TOKENS, count)
        case "summary":
            return _summarised(turns, summary, memory.max_turns)


def _fresh(recalled: Recalled, ttl: int | None, now: int) -> tuple[Sequence[Turn], Summary | None]:
    """What has not expired: a session is forgotten at each pause of more than `ttl` seconds between its turns, also
    where nobody has come to write that down yet."""
    if ttl is None:
        return recalled.turns, recalled.summary
    until, at = now, len(recalled.turns)
    while at > 0 and until - recalled.turns[at - 1].time_unix_nano <= ttl * _NANO:
        at -= 1
        until = recalled.turns[at].time_unix_nano
    summary = recalled.summary
    if summary is not None and (at == len(recalled.turns) or (at > 0 and summary.time_unix_nano < until)):
        # Made before the pause, of what is forgotten by it.
        summary = None
    return recalled.turns[at:], summary


def _within(turns: Sequence[Turn], budget: int, count: Count) -> Remembrance:
    tokens, at = 0, len(turns)
    while at > 0:
        more = count(turns[at - 1])
        if tokens + more > budget:
            break
        tokens += more
        at -= 1
    return Remembrance(turns[at:], tokens=tokens)


def _summarised(turns: Sequence[Turn], summary: Summary | None, window: int) -> Remembrance:
    """Half of the window is kept at least, so that a model is asked once in as many runs, and not in each."""
    left = unfolded(turns, summary)
    if len(left) <= window:
        return Remembrance(left, summary)
    folded = min(len(left) - max(1, window // 2), FOLDED_AT_ONCE)
    # Of a backlog that one call does not fold, the newest are told; the next run folds on.
    return Remembrance(left[max(folded, len(left) - window) :], summary, left[:folded])
