"""What a candidate can do of what a request needs, by what is declared of it. Pure.

Nobody said is not no: such a candidate is asked, and its vendor may refuse. Pictures are the exception: a model that
cannot see answers all the same, as if there were none.
"""

from __future__ import annotations

from collections.abc import Iterator

from astromesh_router.candidates import Candidate
from astromesh_router.ports import Needs

LENGTH_PARAMETERS = ("max_tokens", "max_completion_tokens", "num_predict")
"""How a candidate's parameters bound its reply, by vendor."""

DIALECTS_WITH_DETAIL = ("openai_compat",)
"""Whose pictures may come with a word on how closely to look. Others would ignore it."""


def lack(candidate: Candidate, needs: Needs) -> str:
    """Why a candidate cannot do what is needed; empty where it can, or may."""
    if needs.tools and candidate.tools is False:
        return "it cannot call tools (capabilities.tools is false)"
    if needs.vision and not candidate.vision:
        return "nobody said that it sees pictures (capabilities.vision: true would)"
    if needs.detail and candidate.dialect not in DIALECTS_WITH_DETAIL:
        return "its vendor takes no detail of a picture (leave it out, or say auto)"
    if needs.structured_output and candidate.structured_output is False:
        return "it cannot keep to a schema (capabilities.structured_output is false)"
    window = candidate.context_window
    return "" if window is None else _overflow(window, needs.input_tokens, reply_bound(candidate, needs))


def _overflow(window: int, asked: int, bound: int) -> str:
    # Without a bound there has to be room for the first token of a reply.
    if asked + max(bound, 1) <= window:
        return ""
    reply = f" and a reply of up to {bound:,}" if bound else " and a reply"
    return f"its context of {window:,} tokens is too small for about {asked:,}{reply}"


def reply_bound(candidate: Candidate, needs: Needs) -> int:
    """How many tokens the reply may have at most; 0 where nobody sets a bound."""
    least = needs.max_output_tokens
    for name in LENGTH_PARAMETERS:
        declared = candidate.parameters.get(name)
        if isinstance(declared, int) and declared > 0:
            least = min(least, declared) if least else declared
    return least


def declarations(candidate: Candidate, needs: Needs) -> Iterator[tuple[str, bool]]:
    """Each thing that is needed, and whether it is declared of a candidate that does not lack it."""
    if needs.tools:
        yield "tools", candidate.tools is True
    if needs.vision:
        yield "vision", candidate.vision is True
    if needs.structured_output:
        yield "structured output", candidate.structured_output is True
    yield "context", candidate.context_window is not None
