"""What this router has seen of each candidate: how fast it is, how long its answers are, whose turn it is. In memory
alone: a router that is started anew learns again within some calls, and no two routers share what they saw.

Rules: a figure is an average that gives the last 20 calls most of its weight. What is known of a speed fades: with each
30 s without a call, half the way to what is usual in the pool. A failure counts against the share of calls that
succeed, and as a first token that came no earlier than the failure. What was used longest ago is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

from astromesh.v1.values_pb2 import Usage
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.figures import Figures, Speed

SPAN = 20
"""Calls that an average is about."""

NEWEST = 2 / (SPAN + 1)
"""The weight of each new one. The first few weigh the same: more than this."""

CALLS_OF_DOUBT = 5
"""What is usual in a pool has the weight of so many calls of a candidate: one long answer makes no model verbose."""

HALF_LIFE_SECONDS = 30.0
"""Short enough that a handful of explored calls tell of a candidate that recovered, however bad it was."""
FIRST_CALL_SECONDS = 30.0
"""How long a first call may be under way before another one goes to a candidate of which nothing is known."""

CAPACITY = 10_000
"""Of candidates, of pools and of candidates in pools, each. An entry takes about half a kilobyte."""


@dataclass(slots=True)
class Average:
    """An average that favours what is new. `calls` 0: nothing was observed, `value` is a guess."""

    value: float
    calls: int = 0
    half_life: float = inf
    at: float = 0.0
    """When it was last observed, in seconds."""

    def observe(self, value: float, now: float) -> None:
        """Takes a value. The first one replaces a guess, the next few weigh the same."""
        self.calls += 1
        newest = NEWEST if self.calls > 1 / NEWEST else 1 / self.calls
        kept = (1 - newest) * self._left(now)
        self.value = self.value * kept + value * (1 - kept)
        self.at = now

    def faded(self, usual: float, now: float) -> float:
        """The average by now: the older, the nearer to what is usual."""
        return usual + (self.value - usual) * self._left(now)

    def _left(self, now: float) -> float:
        return 0.5 ** ((now - self.at) / self.half_life)


def _fading(guess: float) -> Average:
    return Average(guess, half_life=HALF_LIFE_SECONDS)


@dataclass(slots=True)
class _Pace:
    """The speed of a candidate, whoever asks it, or of a pool, whoever answers."""

    first_token: Average = field(default_factory=lambda: _fading(Speed.first_token))
    per_token: Average = field(default_factory=lambda: _fading(Speed.per_token))
    success: Average = field(default_factory=lambda: _fading(Speed.success))
    asked_first: float = -inf
    """When the call was begun that is to measure it first."""

    def replied(self, first_token: float, seconds: float, tokens: int, now: float) -> None:
        self.first_token.observe(first_token, now)
        if tokens > 1:
            self.per_token.observe((seconds - first_token) / (tokens - 1), now)
        self.success.observe(1.0, now)

    def failed(self, seconds: float, now: float) -> None:
        self.first_token.observe(max(seconds, self.first_token.value), now)
        self.success.observe(0.0, now)

    def measured(self) -> Speed:
        return Speed(self.first_token.value, self.per_token.value, self.success.value)

    def awaited(self, now: float) -> bool:
        return now - self.asked_first < FIRST_CALL_SECONDS

    def faded(self, usual: Speed, now: float) -> Speed:
        return Speed(
            self.first_token.faded(usual.first_token, now),
            self.per_token.faded(usual.per_token, now),
            self.success.faded(1.0, now),
        )


@dataclass(slots=True)
class _Habits:
    """What a candidate's answers in a pool are like, or those of all its candidates."""

    output_tokens: Average = field(default_factory=lambda: Average(Figures.output_tokens))
    cached_share: Average = field(default_factory=lambda: Average(Figures.cached_share))

    def replied(self, usage: Usage, now: float) -> None:
        self.output_tokens.observe(usage.output_tokens, now)
        if usage.input_tokens:
            self.cached_share.observe(min(usage.cached_input_tokens / usage.input_tokens, 1.0), now)


_NO_HABITS = _Habits()


def _leaning(own: Average, usual: Average) -> float:
    """A candidate's own average, as far as there are calls enough to tell it from what is usual in the pool."""
    calls = own.calls if own.calls < SPAN else SPAN
    return (own.value * calls + usual.value * CALLS_OF_DOUBT) / (calls + CALLS_OF_DOUBT)


Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Keeps the values used last, `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """The value, which is used thereby."""
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> Value:
        """Keeps a value, and forgets the one used longest ago where there are too many."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return value

    def __len__(self) -> int:
        return len(self._kept)


_CandidateKey = tuple[str, str, str, str]
_PoolKey = tuple[str, str]


class Observations:
    """Remembers calls. `clock` counts seconds. Not for several threads."""

    def __init__(self, clock: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._paces = Recent[_CandidateKey, _Pace](capacity)
        self._pools = Recent[_PoolKey, tuple[_Pace, _Habits]](capacity)
        self._habits = Recent[tuple[_PoolKey, _CandidateKey], _Habits](capacity)
        self._turns = Recent[tuple[_PoolKey, tuple[_CandidateKey, ...]], int](capacity)

    @property
    def entries(self) -> int:
        """How many are remembered."""
        return sum(map(len, (self._paces, self._pools, self._habits, self._turns)))

    def figures(self, pool: Pool, *, speeds: bool = True) -> tuple[Figures, ...]:
        """What is known by now of each candidate of a pool, in their order. Speeds cost as much as all the rest."""
        now, pool_key = self._clock(), _pool_key(pool)
        usual, usual_habits = self._pools.get(pool_key) or (None, _NO_HABITS)
        usual_speed = usual and usual.measured()
        found: list[Figures] = []
        for key in map(_key, pool.candidates):
            habits = self._habits.get((pool_key, key)) or _NO_HABITS
            output = _leaning(habits.output_tokens, usual_habits.output_tokens)
            cached = _leaning(habits.cached_share, usual_habits.cached_share)
            pace = self._paces.get(key) if speeds else None
            if pace is None:
                found.append(Figures(output, cached, speed=usual_speed or Speed()))
                continue
            measured, calls = pace.measured(), min(pace.success.calls, SPAN)
            speed = pace.faded(usual_speed or measured, now)
            found.append(Figures(output, cached, calls, measured, speed, pace.awaited(now)))
        return tuple(found)

    def turn(self, pool: Pool, candidates: Sequence[Candidate]) -> int:
        """How often it was asked whose turn it is among these candidates of the pool. Counts this time too.

        Another choice of candidates takes turns of its own: else those that every request can go to would have the
        turns of those that some cannot.
        """
        key = (_pool_key(pool), tuple(map(_key, candidates)))
        turn = self._turns.get(key) or 0
        self._turns.put(key, turn + 1)
        return turn

    def begun(self, candidate: Candidate) -> None:
        """A call goes to this candidate."""
        pace = self._pace(_key(candidate))
        if not pace.success.calls:
            pace.asked_first = self._clock()

    def replied(self, pool: Pool, candidate: Candidate, first_token: float, seconds: float, usage: Usage) -> None:
        """A call was completed: its first token and its last came after so many seconds."""
        now, pool_key = self._clock(), _pool_key(pool)
        known = self._pools.get(pool_key) or self._pools.put(pool_key, (_Pace(), _Habits()))
        key = _key(candidate)
        habits = self._habits.get((pool_key, key)) or self._habits.put((pool_key, key), _Habits())
        for pace in (self._pace(key), known[0]):
            pace.replied(first_token, seconds, usage.output_tokens, now)
        for each in (habits, known[1]):
            each.replied(usage, now)

    def failed(self, candidate: Candidate, seconds: float) -> None:
        """A call failed after so many seconds."""
        self._pace(_key(candidate)).failed(seconds, self._clock())

    def _pace(self, key: _CandidateKey) -> _Pace:
        return self._paces.get(key) or self._paces.put(key, _Pace())


def _pool_key(pool: Pool) -> _PoolKey:
    return pool.agent, pool.role


def _key(candidate: Candidate) -> _CandidateKey:
    """Who is the same to us: parameters count, since a model that is told to think longer is slower."""
    return candidate.provider, candidate.endpoint, candidate.model, repr(candidate.parameters)
