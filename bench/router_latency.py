"""What the router adds to a model call, in its caller's process and over gRPC, beside LiteLLM's proxy. The calls go by
turns in one run, and to the model itself in between: by the barest client there is, which is what all are held to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from figures import Figure
from processes import cores, cpu_seconds, resident_bytes, stub_model
from rivals import NotMeasured
from router_load import Measured, Plan, Taken, measured
from router_places import LITELLM, Place, litellm, router
from router_ways import Way

SCENARIO = "The router: a model call, one server core, an instant stub model"
PLAN = Plan((), alone=2_000, paced_seconds=20, full=5_000)
SLOWER = 0.2
"""Share of our calls that is enough to measure LiteLLM's proxy at its most."""

OURS, OURS_HERE = "ours, over gRPC", "ours, in its caller's process"
STRAIGHT, STRAIGHT_STREAMED = "straight to the model", "straight to the model, streamed"
STREAMED = f"{LITELLM}, streamed"
_WHOLE, _FIRST = "p50 ≤ 0.6 ms, p99 ≤ 3 ms", "p50 ≤ 1 ms"
_KEEPS_UP = 0.95


def measure(share: float) -> Iterator[Figure]:
    """`share` of the calls; every figure as soon as it is there."""
    counts = replace(
        PLAN,
        alone=max(50, int(PLAN.alone * share)),
        paced_seconds=max(1, int(PLAN.paced_seconds * share)),
        full=max(200, int(PLAN.full * share)),
    )
    with tempfile.TemporaryDirectory() as made, stub_model(Path(made)) as endpoint:
        yield from _in_process(endpoint, counts)
        yield from _over_sockets(endpoint, counts)


def _in_process(endpoint: str, counts: Plan) -> Iterator[Figure]:
    """The router on the core of its caller, which is how `astromesh up` runs."""
    ways = (*_straight(endpoint), Way(OURS_HERE, "here", endpoint))
    got = measured(replace(counts, ways=ways), cores()[0])
    yield from _straightly(got, "same core as the router")
    yield from _added(got, OURS_HERE, _WHOLE)
    yield from _most(got, OURS_HERE)
    full = got.full[OURS_HERE]
    yield Figure(SCENARIO, "64 at once: CPU a call", OURS_HERE, f"{full.cpu / len(full.whole) * 1e3:.2f} ms")
    yield Figure(SCENARIO, "RSS after it all, load included", OURS_HERE, _told(got.resident))


def _over_sockets(endpoint: str, counts: Plan) -> Iterator[Figure]:
    """Processes on the measured core, their callers on the model's."""
    with ExitStack() as stack:
        place = stack.enter_context(router(endpoint))
        ways = [*_straight(endpoint), Way(OURS, "rpc", place.at, token=place.token)]
        try:
            proxy = stack.enter_context(litellm(endpoint))
            ways += [Way(LITELLM, "bare", proxy.at), Way(STREAMED, "bare", proxy.at, streamed=True)]
        except NotMeasured as reason:
            yield Figure(SCENARIO, "added", LITELLM, f"not measured: {reason}")
            proxy = None
        # What is measured at its most goes alone: it takes the whole core.
        got = measured(replace(counts, ways=ways, full=0), cores()[1])
        yield from _straightly(got, "same core as the model")
        yield from _added(got, OURS, _WHOLE)
        if proxy is not None:
            yield from _added(got, LITELLM)
            yield from _added(got, STREAMED)
        yield from _at_their_most(place, [way for way in ways if way.name == OURS], counts.full)
        if proxy is not None:
            theirs = [way for way in ways if way.name in {LITELLM, STREAMED}]
            yield from _at_their_most(proxy, theirs, max(100, int(counts.full * SLOWER)))


def _straight(endpoint: str) -> tuple[Way, ...]:
    return (
        Way(STRAIGHT, "bare", endpoint),
        Way(STRAIGHT_STREAMED, "bare", endpoint, streamed=True),
        Way("straight by aiohttp", "aiohttp", endpoint),
        Way("straight by httpx", "httpx", endpoint),
    )


def _straightly(got: Measured, where: str) -> Iterator[Figure]:
    """The calls that all others are held to, and what those of a common client take."""
    for what, taken in (("1 at once", got.alone), (f"{PLAN.rate}/s", got.paced)):
        for name in taken:
            if name.startswith("straight"):
                yield Figure(SCENARIO, f"{what}, {where}", name, _spread(taken[name].whole))


def _added(got: Measured, name: str, target: str = "") -> Iterator[Figure]:
    """How much longer a way takes than the model itself: to the whole answer of a plain call, and of a streamed one to
    its first words."""
    for what, taken in (("1 at once", got.alone), (f"{PLAN.rate}/s", got.paced)):
        own = taken[name]
        kept = "" if what == "1 at once" else _behind(own)
        straight = taken[STRAIGHT_STREAMED if name == STREAMED else STRAIGHT]
        yield Figure(SCENARIO, f"{what}: added, whole answer", name, _over(own.whole, straight.whole) + kept, target)
        if name != LITELLM:
            first = _over(own.first, taken[STRAIGHT_STREAMED].first)
            yield Figure(SCENARIO, f"{what}: added, first token", name, first + kept, _FIRST if target else "")


def _most(got: Measured, name: str) -> Iterator[Figure]:
    yield Figure(SCENARIO, "64 at once", name, f"{got.full[name].rate:,.0f}/s")


def _at_their_most(place: Place, ways: Sequence[Way], calls: int) -> Iterator[Figure]:
    """Requests a second, CPU time of the process for each, and what it then holds."""
    for way in ways:
        before = cpu_seconds(place.pid)
        plan = Plan((way,), full=calls)
        yield from _most(measured(plan, cores()[1]), way.name)
        used = sum(cpu_seconds(place.pid).values()) - sum(before.values())
        yield Figure(SCENARIO, "64 at once: CPU a call", way.name, f"{used / plan.asked_full * 1e3:.2f} ms")
    yield Figure(SCENARIO, "RSS after it all", ways[0].name, _told(resident_bytes(place.pid)))


def _behind(taken: Taken) -> str:
    return "" if taken.rate > PLAN.rate * _KEEPS_UP else f"; falls behind: {taken.rate:.0f}/s answered"


def _over(own: Sequence[float], straight: Sequence[float]) -> str:
    added = [(ours - theirs) * 1e3 for ours, theirs in zip(_percentiles(own), _percentiles(straight), strict=True)]
    return "  ".join(
        f"p{share} {milliseconds:+.2f} ms" for share, milliseconds in zip((50, 95, 99), added, strict=True)
    )


def _spread(each: Sequence[float]) -> str:
    return "  ".join(
        f"p{share} {seconds * 1e3:.2f} ms" for share, seconds in zip((50, 95, 99), _percentiles(each), strict=True)
    )


def _percentiles(each: Sequence[float]) -> tuple[float, float, float]:
    ranked = sorted(each)
    p50, p95, p99 = (ranked[min(len(ranked) - 1, int(len(ranked) * share))] for share in (0.5, 0.95, 0.99))
    return p50, p95, p99


def _told(resident: dict[str, int]) -> str:
    return ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in resident.items() if size > 5e6)
