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


def lack(candidate: Candidate, needs: Needs) -> str:
    """Why a candidate cannot do what is needed; empty where it can, or may."""
    if needs.tools and candidate.tools is False:
        return "it cannot call tools (capabilities.tools is false)"
    if needs.vision and not candidate.vision:
        return "it is not said to see pictures (capabilities.vision is not true)"
    if needs.structured_output and candidate.structured_output is False:
        return "it cannot keep to a schema (capabilities.structured_output is false)"
    window, bound = candidate.context_window, reply_bound(candidate, needs)
    # Without a bound there has to be room for the first token of a reply.
    if window is not None and needs.input_tokens + max(bound, 1) > window:
        reply = f" and a reply of up to {bound:,}" if bound else " and a reply"
        return f"its context of {window:,} tokens is too small for about {needs.input_tokens:,}{reply}"
    return ""


def reply_bound(candidate: Candidate, needs: Needs) -> int:
    """How many tokens the reply may have at most; 0 where nobody sets a bound."""
    bounds = [needs.max_output_tokens]
    for name in LENGTH_PARAMETERS:
        declared = candidate.parameters.get(name)
        if isinstance(declared, int):
            bounds.append(declared)
    return min((bound for bound in bounds if bound > 0), default=0)


def declarations(candidate: Candidate, needs: Needs) -> Iterator[tuple[str, bool]]:
    """Each thing that is needed, and whether it is declared of a candidate that does not lack it."""
    if needs.tools:
        yield "tools", candidate.tools is True
    if needs.vision:
        yield "vision", candidate.vision is True
    if needs.structured_output:
        yield "structured output", candidate.structured_output is True
    yield "context", candidate.context_window is not None
