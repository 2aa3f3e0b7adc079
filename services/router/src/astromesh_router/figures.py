"""What strategies may know of candidates beside their declarations: values alone. Who gathers them: `observations`."""

from __future__ import annotations

from dataclasses import dataclass

SLOWEST_SUCCESS = 0.01
"""Share of calls: what never succeeds is a hundred times as slow, and can still be compared."""


@dataclass(frozen=True)
class Speed:
    """Seconds to the first token and for each further one, and the share of calls that succeed."""

    first_token: float = 1.0
    per_token: float = 0.02
    success: float = 1.0

    def seconds(self, tokens: float) -> float:
        """How long an answer of so many tokens takes, calls that fail before it included."""
        return (self.first_token + self.per_token * tokens) / max(self.success, SLOWEST_SUCCESS)


@dataclass(frozen=True)
class Figures:
    """What is known of a candidate in a pool; where nothing is, what is usual in the pool, or plausible."""

    output_tokens: float = 256.0
    cached_share: float = 0.0
    """Of the prompt, as the vendor reported it."""
    calls: int = 0
    """On which the speed stands, the last 20 at most; 0: it was never measured."""
    measured: Speed = Speed()
    """As it was when last measured."""
    speed: Speed = Speed()
    """As far as it can be relied upon by now."""
    awaited: bool = False
    """A first call to it is under way."""


@dataclass(frozen=True)
class Seen:
    """What a strategy may go by: the figures of each candidate in its order, and what makes calls differ."""

    figures: tuple[Figures, ...]
    turn: int = 0
    """How often these candidates of the pool were ranked before."""
    draw: float = 1.0
    """From 0 to 1, drawn anew for each call: the only chance that a strategy knows."""
