"""Strategies and roles as agents declare them in YAML, through the service, in both placements."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, get_args

import pytest

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Image, Message, ResourceRef
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import text_content
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.candidates import Strategy
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_text
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate
from astromesh_router.strategist import LearningStrategist
from astromesh_testing.contracts.placement import Placement
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Refusal, Reply, Tokens

from .asking import ADD, Gathered, user
from .serving import Served, answer, stub_of

if TYPE_CHECKING:
    from astromesh.v1.router_pb2_grpc import RouterServiceAsyncStub

DOCS = Path(__file__).parents[3] / "docs" / "routing.md"
HEAD = "apiVersion: astromesh/v1\nkind: Agent\nmetadata: {name: a}\nspec:\n  model:\n"
ANSWER = Reply("yes", tokens=Tokens(10, 20))
PICTURE = Message(
    role=user("").role,
    content=text_content("What is this?"),
    images=[Image(media_type="image/png", data=text_content("aGk="))],
)


@dataclass
class Routed:
    """Two model servers and a router."""

    first: OpenAIChatServer
    second: OpenAIChatServer
    served: Served
    stub: RouterServiceAsyncStub

    def agent(self, model: str, resources: str = "") -> ResourceRef:
        """An agent with this `spec.model`. In it `%1` and `%2` are where the servers are; each model has its name."""
        text = f"{HEAD}{model}\n{resources}"
        for place, server in (("%1", self.first), ("%2", self.second)):
            text = text.replace(place, f"provider: openai_compat, endpoint: '{server.endpoint}', max_retries: 0")
            text = text.replace(f"@{place[1]}", server.endpoint)
        return self.served.declared(text)

    async def ask(self, agent: ResourceRef, *messages: Message, role: str = "default", tools: bool = False) -> Gathered:
        asked = CompleteRequest(agent=agent, role=role, messages=messages or [user("hello")], path="1")
        asked.tools.extend([ADD] if tools else [])
        return await answer(self.stub, asked)

    async def chosen(self, agent: ResourceRef, *messages: Message, role: str = "default", tools: bool = False) -> str:
        """The model that answers."""
        return (await self.ask(agent, *messages, role=role, tools=tools)).completion.charge.model


@pytest.fixture
async def routed(placement: Placement, calls: Calls, telemetry: Telemetry) -> AsyncIterator[Routed]:
    dialects = {"openai_compat": calls.dialect(Candidate("", "openai_compat", ""))}
    served = Served(Calls(dialects, telemetry, strategist=LearningStrategist(random=Random(0))))
    async with (
        OpenAIChatServer(otherwise=ANSWER) as first,
        OpenAIChatServer(otherwise=ANSWER) as second,
        placement(served.register) as channel,
    ):
        yield Routed(first, second, served, stub_of(channel))


def told(gathered: Gathered) -> list[tuple[str, bool, str]]:
    return [(step.model, step.chosen, step.reason) for step in gathered.completion.route.steps]


async def test_the_cheapest_answers_and_the_route_tells_what_each_would_have_cost(routed: Routed) -> None:
    agent = routed.agent("""\
    primary: {%1, model: dear, input_cost_per_1k_tokens: 0.01, output_cost_per_1k_tokens: 0.03}
    fallback: {%2, model: cheap, cost_per_1k_tokens: 0.0006}
    routing: {strategy: cost_optimized}""")
    first, second = await routed.ask(agent), await routed.ask(agent)
    assert first.completion.route.strategy == "cost_optimized"
    assert told(first) == [
        ("cheap", True, "expected $0.00016: 6 tokens in, about 256 out"),
        ("dear", False, "expected $0.0077: 6 tokens in, about 256 out"),
    ]
    assert told(second) == [
        ("cheap", True, "expected $0.000016: 6 tokens in, about 20 out"),
        ("dear", False, "expected $0.00066: 6 tokens in, about 20 out"),
    ]


async def test_the_fallback_follows_the_strategy(routed: Routed) -> None:
    agent = routed.agent("""\
    primary: {%1, model: last, cost_per_1k_tokens: 3}
    fallback:
      - {%1, model: second, cost_per_1k_tokens: 2}
      - {%2, model: broken, cost_per_1k_tokens: 1}
    routing: {strategy: cost_optimized}""")
    routed.second.otherwise = Refusal(500)
    gathered = await routed.ask(agent)
    assert [(step.model, step.chosen) for step in gathered.completion.route.steps] == [
        ("broken", False),
        ("second", True),
        ("last", False),
    ]


async def test_the_fastest_answers_once_each_was_measured(routed: Routed) -> None:
    routed.first.otherwise = Reply("yes", pause_first=0.15)
    agent = routed.agent("""\
    primary: {%1, model: slow}
    fallback: {%2, model: quick}
    routing: {strategy: latency_optimized}""")
    models = [await routed.chosen(agent) for _ in range(12)]
    assert models[:2] == ["slow", "quick"]
    assert models.count("quick") >= 9
    _, reason = max((step.chosen, step.reason) for step in (await routed.ask(agent)).completion.route.steps)
    assert "s to the first token" in reason


async def test_the_best_answers_of_equals_the_cheapest(routed: Routed) -> None:
    agent = routed.agent("""\
    primary: {%1, model: good, quality_score: 0.8}
    fallback:
      - {%1, model: best-and-dear, quality_score: 0.95, cost_per_1k_tokens: 0.02}
      - {%2, model: best, quality_score: 0.95, cost_per_1k_tokens: 0.01}
    routing: {strategy: quality_first}""")
    assert told(await routed.ask(agent)) == [
        ("best", True, "quality 0.95"),
        ("best-and-dear", False, "quality 0.95"),
        ("good", False, "quality 0.8"),
    ]


async def test_turns_are_shared_evenly_by_calls_that_come_at_once(routed: Routed) -> None:
    agent = routed.agent("""\
    primary: {%1, model: one}
    fallback: [{%2, model: two}, {%1, model: three}]
    routing: {strategy: round_robin}""")
    models = Counter(await asyncio.gather(*(routed.chosen(agent) for _ in range(20))))
    assert sorted(models.values()) == [6, 7, 7]


async def test_a_request_goes_to_the_model_of_which_it_is_declared_that_it_can(routed: Routed) -> None:
    agent = routed.agent("""\
    primary: {%1, model: plain}
    fallback:
      - {%1, model: caller, context_window: 8000, capabilities: {tools: true}}
      - {%2, model: seer, context_window: 8000, capabilities: {tools: true, vision: true}}
      - {%2, model: mute, context_window: 32000, capabilities: {tools: false, vision: true}}
    routing: {strategy: capability_match}""")
    assert await routed.chosen(agent, tools=True) == "caller"
    assert await routed.chosen(agent, PICTURE, tools=True) == "seer"
    assert await routed.chosen(agent, user("word " * 10_000)) == "mute"
    with_tools = await routed.ask(agent, PICTURE, tools=True)
    assert told(with_tools) == [
        ("seer", True, "declares tools, vision, context"),
        ("plain", False, "nobody said that it sees pictures (capabilities.vision: true would)"),
        ("caller", False, "nobody said that it sees pictures (capabilities.vision: true would)"),
        ("mute", False, "it cannot call tools (capabilities.tools is false)"),
    ]


@pytest.mark.parametrize("routing", ["", "routing: {strategy: round_robin}"])
async def test_where_no_model_can_the_error_says_of_each_why(routed: Routed, routing: str) -> None:
    agent = routed.agent(f"""\
    primary: {{%1, model: mute, capabilities: {{tools: false}}}}
    fallback: {{%2, model: small, context_window: 10}}
    {routing}""")
    with pytest.raises(InvalidInput) as caught:
        await routed.ask(agent, tools=True)
    assert "mute" in caught.value.message
    assert "it cannot call tools (capabilities.tools is false)" in caught.value.message
    assert "its context of 10 tokens is too small for about" in caught.value.message
    assert routed.first.requests == routed.second.requests == []


async def test_a_role_has_its_own_models_and_strategy_and_other_roles_the_default_ones(routed: Routed) -> None:
    agent = routed.agent("""\
    default:
      strategy: quality_first
      candidates:
        - {%1, model: fair, quality_score: 0.5}
        - {%2, model: fine, quality_score: 0.9}
    extra:
      finest: {%1, model: finest, quality_score: 0.99}
    roles:
      planner:
        candidates: [{%2, model: plan}]
      judge:
        strategy: cost_optimized
        candidates:
          - {%1, model: dear, cost_per_1k_tokens: 2}
          - {%2, model: cheap, cost_per_1k_tokens: 1}""")
    assert await routed.chosen(agent) == "finest"
    assert await routed.chosen(agent, role="writer") == "finest"
    assert await routed.chosen(agent, role="planner") == "plan"
    assert await routed.chosen(agent, role="judge") == "cheap"


async def test_what_a_provider_says_of_its_models_is_what_strategies_go_by(routed: Routed) -> None:
    provider = """\
---
apiVersion: astromesh/v1
kind: Provider
metadata: {name: %s}
spec: {type: openai_compat, endpoint: '@%d', models: [{name: %s, cost_per_1k_tokens: %s}]}
"""
    agent = routed.agent(
        "    primary: {providerRef: one}\n    fallback: {providerRef: two}\n    routing: {strategy: cost_optimized}",
        provider % ("one", 1, "dear", 2) + provider % ("two", 2, "cheap", 1),
    )
    assert await routed.chosen(agent) == "cheap"


def test_every_documented_agent_loads_and_is_served() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    loaded = [load_text(example, "routing.md") for example in examples]
    assert [each.problems for each in loaded] == [()] * 6
    agents = [resource for each in loaded for resource in each.resources]
    assert [unsupported(agent) for agent in agents] == [[]] * 6
    strategies = {agent.spec.model.strategy for agent in agents if isinstance(agent.spec, AgentSpec)}
    assert strategies == set(get_args(Strategy))
