"""The strategies: each orders the candidates that can do what a request needs. Pure.

The first is asked, and the fallback follows the order. Whatever a strategy finds equal stays as it was declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor, log10

from astromesh.v1.values_pb2 import Usage
from astromesh_router.candidates import Candidate
from astromesh_router.capabilities import declarations, lack, reply_bound
from astromesh_router.completion import NANOS, cost_nanos
from astromesh_router.figures import Figures, Seen
from astromesh_router.ports import Expected, Needs, Ranked, Ranking

IN_ORDER = "in_order"
"""Where no strategy is declared."""

LATENCY_OPTIMIZED, ROUND_ROBIN = "latency_optimized", "round_robin"
"""The two that go by more than declarations and answers: by speeds, and by turns."""

EXPLORING_SHARE = 0.05
"""Of calls: they go to another than the fastest, since what is never asked is never seen to have become fast."""


@dataclass(frozen=True)
class Prospect:
    """A candidate that can do what is needed, and what is expected of it for this request. `place` counts from 1."""

    place: int
    candidate: Candidate
    figures: Figures
    needs: Needs

    @cached_property
    def expected(self) -> Expected:
        """What the request will use and cost."""
        return expected(self.candidate, self.figures, self.needs)

    @property
    def seconds(self) -> float:
        """How long the whole answer takes, as far as is known by now."""
        return self.figures.speed.seconds(self.expected.usage.output_tokens)

    @property
    def seconds_once(self) -> float:
        """The same as it was when last measured, however long ago."""
        return self.figures.measured.seconds(self.expected.usage.output_tokens)

    def ranked(self, reason: str) -> Ranked:
        """In its place, for this reason."""
        return Ranked(self.candidate, reason, lambda: self.expected)


Order = tuple[Ranked, ...]
Strategy = Callable[[Sequence[Prospect], Seen], Order]


def rank(strategy: str, candidates: Sequence[Candidate], seen: Seen, needs: Needs) -> Ranking:
    """Every candidate that can do what is needed in a strategy's order, the others with what they lack.

    `seen` speaks of each candidate, in their order. Without a strategy: as declared.
    """
    prospects: list[Prospect] = []
    excluded: list[tuple[Candidate, str]] = []
    for place, (candidate, figures) in enumerate(zip(candidates, seen.figures, strict=True), 1):
        lacking = lack(candidate, needs)
        if lacking:
            excluded.append((candidate, lacking))
        else:
            prospects.append(Prospect(place, candidate, figures, needs))
    name = strategy or IN_ORDER
    return Ranking(name, STRATEGIES[name](prospects, seen), tuple(excluded))


def in_order(prospects: Sequence[Prospect], seen: Seen) -> Order:
    """As declared."""
    del seen
    return _ranked(prospects, lambda each: f"declared as number {each.place}")


def cost_optimized(prospects: Sequence[Prospect], seen: Seen) -> Order:
    """The cheapest for this request first; those whose price nobody declared last."""
    del seen
    return _ranked(sorted(prospects, key=_cost), cost_reason)


def latency_optimized(prospects: Sequence[Prospect], seen: Seen) -> Order:
    """The one whose whole answer is there first; those never measured last.

    But one call measures each new candidate, and a small share of the calls explores those known as slower.
    """
    fastest = sorted(prospects, key=lambda each: (each.figures.calls == 0, each.seconds, each.seconds_once))
    new = next((each for each in prospects if not each.figures.calls and not each.figures.awaited), None)
    explored = new or _drawn([each for each in fastest[1:] if each.figures.calls], seen.draw)
    if explored is None:
        return _ranked(fastest, speed_reason)
    others = [each for each in fastest if each is not explored]
    return (explored.ranked(f"explored: {speed_reason(explored)}"), *_ranked(others, speed_reason))


def quality_first(prospects: Sequence[Prospect], seen: Seen) -> Order:
    """The best first, of equals the cheapest; those whose quality nobody declared last."""
    del seen
    return _ranked(sorted(prospects, key=lambda each: (-_quality(each), *_cost(each))), quality_reason)


def round_robin(prospects: Sequence[Prospect], seen: Seen) -> Order:
    """Each in turn; the fallback goes on with who is next."""
    turns = [each.ranked(f"turn {turn} of {len(prospects)}") for turn, each in enumerate(prospects, 1)]
    first = seen.turn % len(turns) if turns else 0
    return (*turns[first:], *turns[:first])


def capability_match(prospects: Sequence[Prospect], seen: Seen) -> Order:
    """The one of which most is declared of what is needed first; nobody who cannot do it is among them."""
    del seen
    return _ranked(sorted(prospects, key=_undeclared), match_reason)


STRATEGIES: Mapping[str, Strategy] = {
    IN_ORDER: in_order,
    "cost_optimized": cost_optimized,
    LATENCY_OPTIMIZED: latency_optimized,
    "quality_first": quality_first,
    ROUND_ROBIN: round_robin,
    "capability_match": capability_match,
}


def expected(candidate: Candidate, figures: Figures, needs: Needs) -> Expected:
    """What a request will use and cost on a candidate: the prompt as counted, the reply and the cache as of late."""
    bound = reply_bound(candidate, needs)
    output = round(figures.output_tokens)
    usage = Usage(
        input_tokens=needs.input_tokens,
        output_tokens=min(output, bound) if bound else output,
        cached_input_tokens=round(needs.input_tokens * figures.cached_share),
        estimated=True,
    )
    return Expected(usage, cost_nanos(usage, candidate.prices))


def cost_reason(prospect: Prospect) -> str:
    """What the request will probably cost, and how that comes about."""
    usage = prospect.expected.usage
    cost = f"expected {dollars(prospect.expected.cost_nanos)}" if prospect.candidate.priced else "no price declared"
    cached = f" ({usage.cached_input_tokens:,} cached)" if usage.cached_input_tokens else ""
    return f"{cost}: {usage.input_tokens:,} tokens in{cached}, about {usage.output_tokens:,} out"


def speed_reason(prospect: Prospect) -> str:
    """How fast it was when it was measured."""
    figures, speed = prospect.figures, prospect.figures.measured
    if not figures.calls:
        return "not measured yet"
    calls = "call" if figures.calls == 1 else f"{figures.calls} calls"
    if not speed.success:
        return f"failed its last {calls}"
    tokens = f", {1 / speed.per_token:,.0f} tokens/s" if speed.per_token else ""
    failed = "" if speed.success > 0.995 else f", {1 - speed.success:.0%} failed"
    return f"{duration(speed.first_token)} to the first token{tokens} over the last {calls}{failed}"


def quality_reason(prospect: Prospect) -> str:
    """Its declared quality."""
    quality = prospect.candidate.quality_score
    return "no quality declared" if quality is None else f"quality {quality:g}"


def match_reason(prospect: Prospect) -> str:
    """What of the needs is declared, and what nobody said."""
    match = list(declarations(prospect.candidate, prospect.needs))
    can = ", ".join(name for name, declared in match if declared)
    unsaid = ", ".join(name for name, declared in match if not declared)
    return "; ".join(filter(None, (f"declares {can}" if can else "", f"nothing said of {unsaid}" if unsaid else "")))


def dollars(nanos: int) -> str:
    """An amount with two figures that count: $0.00042, $0, $12.30."""
    if not nanos:
        return "$0"
    amount = nanos / NANOS
    return f"${amount:,.{max(2, 1 - floor(log10(amount)))}f}"


def duration(seconds: float) -> str:
    """A time with two figures that count where it is short: 3.2 ms, 0.31 s, 12.50 s."""
    return f"{seconds:.2f} s" if seconds >= 0.0995 else f"{seconds * 1000:.2g} ms"


def _quality(prospect: Prospect) -> float:
    quality = prospect.candidate.quality_score
    return -1.0 if quality is None else quality


def _cost(prospect: Prospect) -> tuple[bool, int]:
    return not prospect.candidate.priced, prospect.expected.cost_nanos


def _undeclared(prospect: Prospect) -> int:
    return sum(not declared for _, declared in declarations(prospect.candidate, prospect.needs))


def _drawn(slower: Sequence[Prospect], draw: float) -> Prospect | None:
    """One of them, each with the same chance, in the share of calls that explores."""
    if draw >= EXPLORING_SHARE or not slower:
        return None
    return slower[int(draw / EXPLORING_SHARE * len(slower))]


def _ranked(prospects: Iterable[Prospect], reason: Callable[[Prospect], str]) -> Order:
    return tuple(prospect.ranked(reason(prospect)) for prospect in prospects)
