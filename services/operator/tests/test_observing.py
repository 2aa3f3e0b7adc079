"""What services answer becomes conditions, and conditions become Ready."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from astromesh.v1.control_pb2 import CONDITION_STATUS_TRUE, Observation
from astromesh.v1.control_pb2 import Condition as ConditionRecord
from astromesh.v1.guardrails_pb2 import RuleProblem
from astromesh.v1.memory_pb2 import MemoryStoreHealth
from astromesh.v1.router_pb2 import ProviderHealth
from astromesh.v1.tools_pb2 import ToolSource
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import AstromeshError, InvalidInput, NotSupported, Unavailable
from astromesh_core.resources.conditions import Condition, derive_ready
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.resource import Resource
from astromesh_operator.observing import Observed, Observer
from astromesh_operator.statuses import status_of
from astromesh_operator.told import Told, remembered

from .answering import Answers, answering
from .texts import PIPELINE, PROVIDERS, agent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DOWN = ProviderHealth(provider="ollama", endpoint="http://127.0.0.1:1", reason="ollama refused the connection")
UP = ProviderHealth(provider="extractive", reachable=True)


def one(text: str) -> Resource:
    loaded = load_text(text, "x.yaml")
    assert loaded.problems == ()
    return loaded.resources[0]


async def observed(resource: Resource, answers: Answers, *off: str) -> dict[str, Condition]:
    ref = ResourceRef(kind=resource.kind, namespace=resource.namespace, name=resource.name, sha256=resource.sha256)
    found = (await Observer(answering(answers)).observe(resource, ref, off)).conditions
    conditions = [*found, derive_ready(resource.kind, found, NOW)]
    return {condition.type: condition for condition in conditions}


async def test_an_agent_is_ready_when_everyone_says_so() -> None:
    conditions = await observed(one(agent()), Answers(tools=["search"]))

    assert conditions["Ready"].status == "True"
    assert conditions["ToolsRegistered"].message == "search"
    assert conditions["MemoryConnected"].reason == "NoMemory"


SERVED = "  tools: [{name: files, type: mcp, command: npx}]\n"


async def test_nobody_is_told_of_servers_who_declares_none() -> None:
    assert "ToolsConnected" not in await observed(one(agent()), Answers(tools=["search"]))


@pytest.mark.parametrize(
    ("sources", "status", "reason"),
    [
        ([("files", True, True, "Connected")], "True", "Connected"),
        ([("files", True, True, "SomeLeftOut")], "True", "SomeLeftOut"),
        ([("files", False, True, "TimedOut"), ("mail", True, True, "Connected")], "False", "TimedOut"),
        ([("files", False, False, "TimedOut"), ("mail", True, True, "Connected")], "True", "OptionalAway"),
    ],
)
async def test_a_server_that_is_away_is_named_and_keeps_its_agent_from_being_ready_where_it_is_required(
    sources: list[tuple[str, bool, bool, str]], status: str, reason: str
) -> None:
    told = [
        ToolSource(entry=entry, connected=connected, required=required, reason=why, message=f"{entry}: as told")
        for entry, connected, required, why in sources
    ]
    conditions = await observed(one(agent(extra=SERVED)), Answers(tools=["read"], sources=told))
    connected = conditions["ToolsConnected"]
    assert (connected.status, connected.reason, connected.message) == (status, reason, "files: as told")
    assert conditions["Ready"].status == status


async def test_an_unreachable_model_with_a_reachable_fallback_does_not_block_its_agent() -> None:
    conditions = await observed(one(agent()), Answers(providers=[DOWN, UP]))

    assert conditions["Ready"].status == "True"
    assert conditions["ProviderReachable"].reason == "FallbackReachable"
    assert "served by extractive" in conditions["ProviderReachable"].message
    assert "refused the connection" in conditions["ProviderReachable"].message


async def test_an_agent_of_which_no_model_answers_is_not_ready() -> None:
    conditions = await observed(one(agent()), Answers(providers=[DOWN]))

    assert conditions["Ready"].status == "False"
    assert conditions["Ready"].reason == "NoProviderReachable"


async def test_a_model_that_is_not_offered_counts_as_not_reachable() -> None:
    missing = ProviderHealth(provider="ollama", reachable=True, reason="the model x is not offered")

    conditions = await observed(one(agent()), Answers(providers=[missing, UP]))

    assert conditions["ProviderReachable"].reason == "FallbackReachable"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("no module named shop"), "False"),
        (Unavailable("tools is away"), "Unknown"),
        (NotSupported("not served in this process"), "Unknown"),
    ],
)
async def test_a_refusal_is_false_and_silence_is_unknown(error: AstromeshError, status: str) -> None:
    conditions = await observed(one(agent()), Answers(failures={"tools": error}))

    assert conditions["ToolsRegistered"].status == status
    assert conditions["Ready"].status == status


async def test_guardrails_that_cannot_be_compiled_keep_an_agent_from_being_ready() -> None:
    rules = "  guardrails: {input: [{type: max_length, max_characters: 10, action: block}]}\n"
    failing = Answers(failures={"guardrails": InvalidInput("cannot be parsed")})

    assert (await observed(one(agent(extra=rules)), Answers()))["GuardrailsLoaded"].message == "max_length"
    assert (await observed(one(agent(extra=rules)), failing))["Ready"].status == "False"


async def test_whether_an_answer_is_told_while_it_is_written_is_said_with_the_rule_that_holds_it_back() -> None:
    rules = "  guardrails: {output: [{type: pii_detection}%s]}\n"
    told = await observed(one(agent(extra=rules % "")), Answers())
    held = await observed(one(agent(extra=rules % ", {type: max_length, max_characters: 10}")), Answers())

    assert told["GuardrailsLoaded"].message == "pii_detection; the answer is told while it is written"
    assert "when it is whole (guardrails.output[1]: max_length blocks" in held["GuardrailsLoaded"].message


async def test_a_rule_whose_model_is_missing_keeps_its_agent_from_being_ready_and_is_named() -> None:
    rules = "  guardrails: {input: [{type: prompt_injection}]}\n"
    missing = RuleProblem(place="guardrails.input[0]", reason="NotSupported", message="no weights are installed")

    conditions = await observed(one(agent(extra=rules)), Answers(rule_problems=[missing]))

    loaded = conditions["GuardrailsLoaded"]
    assert (loaded.status, loaded.reason) == ("False", "NotSupported")
    assert loaded.message == "guardrails.input[0]: no weights are installed"
    assert conditions["Ready"].status == "False"


NEEDS = {
    "router": ("", "ProviderReachable"),
    "memory": ("  memory: {conversational: {backend: sqlite}}\n", "MemoryConnected"),
    "tools": ("", "ToolsRegistered"),
    "guardrails": (
        "  guardrails: {input: [{type: max_length, max_characters: 10, action: block}]}\n",
        "GuardrailsLoaded",
    ),
    "rag": ("  knowledge: {pipeline: docs}\n", "ToolsRegistered"),
    "runtime": ("", "RunsServed"),
}
RAG_TOOL = "  tools: [{name: search, type: rag, pipeline: docs}]\n"


@pytest.mark.parametrize("service", NEEDS)
async def test_an_agent_that_needs_what_is_switched_off_is_not_ready_and_says_so(service: str) -> None:
    extra, condition = NEEDS[service]
    away = Answers(failures={service: Unavailable(f"{service} does not answer")})

    conditions = await observed(one(agent(extra=extra)), away, service)

    assert (conditions["Ready"].status, conditions["Ready"].reason) == ("False", "ServiceDisabled")
    assert (conditions[condition].status, conditions[condition].reason) == ("False", "ServiceDisabled")
    assert f"services.{service} is false in runtime.yaml" in conditions[condition].message


@pytest.mark.parametrize("extra", [RAG_TOOL, NEEDS["rag"][0]])
async def test_an_agent_that_retrieves_waits_for_the_rag_service(extra: str) -> None:
    away = Answers(failures={"rag": Unavailable("rag does not answer")})

    conditions = await observed(one(agent(extra=extra)), away)

    assert (conditions["ToolsRegistered"].status, conditions["Ready"].status) == ("Unknown", "Unknown")
    assert "rag does not answer" in conditions["ToolsRegistered"].message
    assert (await observed(one(agent(extra=extra)), Answers()))["Ready"].status == "True"


async def test_an_agent_that_needs_nothing_of_what_is_switched_off_is_ready() -> None:
    away = Answers(failures={name: Unavailable("away") for name in ("rag", "memory", "guardrails")})

    assert (await observed(one(agent()), away, "rag", "memory", "guardrails", "history"))["Ready"].status == "True"


@pytest.mark.parametrize("service", NEEDS)
async def test_what_is_switched_off_and_runs_all_the_same_is_asked(service: str) -> None:
    conditions = await observed(one(agent(extra=NEEDS[service][0])), Answers(), service)

    assert conditions["Ready"].status == "True"


async def test_a_pipeline_is_not_ready_where_nobody_shall_serve_it() -> None:
    away = Answers(failures={"rag": Unavailable("rag does not answer")})

    conditions = await observed(one(PIPELINE), away, "rag")

    assert (conditions["StoreConnected"].status, conditions["Ready"].reason) == ("False", "ServiceDisabled")
    assert "StoreConnected" not in await observed(one(PIPELINE), away)


def test_what_is_asked_outweighs_what_was_told_and_is_not_remembered_as_told() -> None:
    told = Told()
    stored = ConditionRecord(type="StoreConnected", status=CONDITION_STATUS_TRUE, reason="Told")
    told.hear(Observation(ref=ResourceRef(sha256=b"v"), conditions=[stored]))
    off = Condition("StoreConnected", "False", "ServiceDisabled", "off", NOW)

    both = told.beside(Observed((off,)), b"v")

    assert both.conditions == (off,)
    assert told.beside(Observed(), b"v").conditions[0].status == "True"
    status = status_of(ResourceRef(sha256=b"v"), 1, both.conditions, None, NOW)
    assert remembered(status).conditions == {}


async def test_conversations_fall_back_to_sqlite_and_say_so() -> None:
    memory = "  memory: {conversational: {backend: redis}}\n"
    instead = MemoryStoreHealth(kind="conversational", backend="redis", connected=True, reason="FallbackSQLite")
    instead.message = "conversations are kept in SQLite"

    conditions = await observed(one(agent(extra=memory)), Answers(stores=[instead]))

    assert (conditions["MemoryConnected"].status, conditions["MemoryConnected"].reason) == ("True", "FallbackSQLite")


async def test_memory_that_is_away_is_said_with_its_reason_and_comes_back() -> None:
    memory = "  memory: {conversational: {backend: redis}}\n"
    away = MemoryStoreHealth(kind="conversational", backend="redis", reason="Unavailable", message="redis at h: gone")

    conditions = await observed(one(agent(extra=memory)), Answers(stores=[away]))
    found = conditions["MemoryConnected"]
    assert (found.status, found.reason, found.message) == ("False", "Unavailable", "conversational: redis at h: gone")

    away.connected, away.reason, away.message = True, "Connected", ""
    conditions = await observed(one(agent(extra=memory)), Answers(stores=[away]))
    found = conditions["MemoryConnected"]
    assert (found.status, found.reason, found.message) == ("True", "Connected", "redis")


async def test_of_a_provider_only_the_router_tells_and_nothing_while_it_is_away() -> None:
    told = {"CircuitClosed", "EndpointReachable", "ModelsAvailable"}
    conditions = await observed(one(PROVIDERS), Answers())
    assert conditions.keys() == {"Ready"}, "nobody is asked; what the router told stands"
    assert told <= set(conditions["Ready"].message.removeprefix("not observed yet: ").split(", "))

    away = await observed(one(PROVIDERS), Answers(failures={"router": Unavailable("starting")}))
    assert (away["EndpointReachable"].status, away["EndpointReachable"].reason) == ("Unknown", "NotAnswered")
    off = await observed(one(PROVIDERS), Answers(failures={"router": Unavailable("not there")}), "router")
    assert (off["EndpointReachable"].status, off["EndpointReachable"].reason) == ("False", "ServiceDisabled")
