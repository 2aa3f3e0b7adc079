"""A dialect's reply in the contract's words: the assistant's message with its call ids, the usage, the cost. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from astromesh.v1.router_pb2 import Asked, CompleteRequest
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, Charge, Message, Reasoning, ToolCall, Usage
from astromesh_core.events.contents import text_content
from astromesh_router.candidates import Candidate, Prices
from astromesh_router.dialects.port import Reply, WrittenCall
from astromesh_router.tokens import text_tokens

NANOS = 1_000_000_000


def assistant_message(reply: Reply, request: CompleteRequest) -> Message:
    """The assistant's message; arguments go on as the model wrote them, and the tools service judges them."""
    calls = identified(reply.calls, request) if reply.calls else []
    thoughts = [
        Reasoning(text=text_content(part.text), signature=part.signature, redacted=part.redacted)
        for part in reply.reasoning
    ]
    return Message(role=ROLE_ASSISTANT, content=text_content(reply.text), tool_calls=calls, reasoning=thoughts)


def identified(calls: Iterable[WrittenCall], request: CompleteRequest) -> list[ToolCall]:
    """Gives each call an id unique in the run: the vendor's, or `call_{path}_{n}` where that is missing or taken."""
    taken = {call.id for message in request.messages for call in message.tool_calls}
    done: list[ToolCall] = []
    for number, call in enumerate(calls, 1):
        own = call.id and call.id not in taken
        chosen = call.id if own else f"call_{request.path.replace('.', '_')}_{number}"
        taken.add(chosen)
        done.append(ToolCall(id=chosen, name=call.name, arguments=text_content(call.arguments)))
    return done


def called_tokens(calls: Iterable[WrittenCall]) -> int:
    """How many tokens a model has written for these calls, about."""
    return sum(text_tokens(call.name) + text_tokens(call.arguments) for call in calls)


def charge_of(candidate: Candidate, usage: Usage) -> Charge:
    """What a candidate charges for this usage."""
    return Charge(
        provider=candidate.provider,
        model=candidate.model,
        usage=usage,
        cost_nanos=cost_nanos(usage, candidate.prices),
        currency="USD",
    )


def asked(candidate: Candidate) -> Asked:
    """Who answers, for a caller that may leave before it is told a charge."""
    prices = candidate.prices
    return Asked(
        provider=candidate.provider,
        model=candidate.model,
        input_nanos=round(prices.input * NANOS),
        output_nanos=round(prices.output * NANOS),
    )


def cost_nanos(usage: Usage, prices: Prices) -> int:
    """The price of a call in 1e-9 US dollars. Tokens read from a cache, or written into it, are part of the input's."""
    read, written = usage.cached_input_tokens, usage.cache_written_tokens
    cached = prices.input if prices.cached_input is None else prices.cached_input
    caching = prices.input if prices.cache_write is None else prices.cache_write
    fresh = max(0, usage.input_tokens - read - written)
    dollars = fresh * prices.input + read * cached + written * caching + usage.output_tokens * prices.output
    return round(dollars / 1000 * NANOS)
