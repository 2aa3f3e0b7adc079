"""A folder on disk and a real bus: what is edited is published, refused or deleted, and the status says which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from astromesh.v1.control_pb2 import (
    CONDITION_STATUS_FALSE,
    CONDITION_STATUS_TRUE,
    MANAGED_BY_API,
    Condition,
    ResourceStatus,
)
from astromesh.v1.router_pb2 import ProviderHealth
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.observations import Observations
from astromesh_core.errors import TemporaryError, Unavailable
from astromesh_core.resources.conditions import CONFIG_FOLDER
from astromesh_core.resources.loading import load_text
from astromesh_core.telemetry.otel import collecting
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_operator.controller import Controller
from astromesh_operator.listening import listen
from astromesh_operator.observing import Observer
from astromesh_operator.publishing import Publisher, record_of
from astromesh_operator.syncing import FolderSync
from astromesh_testing.nats import NatsServer
from astromesh_testing.waiting import until

from .answering import Answers, answering
from .texts import PIPELINE, PROVIDERS, RUNTIME, agent, write

PATIENCE = 5.0


class Operated:
    """A mesh of one operator, as a test sees it."""

    def __init__(self, bus: Bus, folder: Path, answers: Answers) -> None:
        self.bus, self.folder, self.answers = bus, folder, answers
        self.telemetry = Telemetry()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[FolderSync]:
        """The operator works within the block."""
        observer = Observer(answering(self.answers, self.telemetry))
        controller = Controller(self.bus.resources, self.bus.status, observer, _now, refresh_seconds=0.2)
        sync = FolderSync(self.folder, Publisher(self.bus.resources), controller, rescan_seconds=0.3)
        hearing = listen(self.bus, controller.told, CollectorRegistry())
        tasks = [asyncio.create_task(part) for part in (sync.run(), controller.run(), hearing)]
        try:
            yield sync
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ended] == [asyncio.CancelledError] * 3

    async def status(
        self, name: str, wanted: Callable[[ResourceStatus], object], kind: str = "Agent"
    ) -> ResourceStatus:
        """Waits for a status that is as wanted."""
        async with asyncio.timeout(PATIENCE), aclosing(self.bus.status.watch()) as changes:
            async for change in changes:
                if (change.kind, change.name) == (kind, name) and change.record and wanted(change.record):
                    return change.record
        raise AssertionError("the watch ended")

    async def gone(self, name: str, kind: str = "Agent") -> None:
        """Waits until neither the resource nor its status is there; both stood when this was called, or are gone."""
        async with asyncio.timeout(PATIENCE), aclosing(self.bus.status.watch()) as changes:
            async for change in changes:
                if (change.kind, change.name, change.record) == (kind, name, None):
                    break
        assert await self.bus.resources.get(kind, "default", name) is None


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def mesh(bus: Bus, tmp_path: Path) -> Operated:
    folder = write(tmp_path / "config", {"providers.yaml": PROVIDERS, "agents/desk.agent.yaml": agent()})
    return Operated(bus, folder, Answers())


def ready(status: ResourceStatus) -> bool:
    return status.ready


async def test_the_folder_is_published_and_its_agent_becomes_ready_within_a_second(mesh: Operated) -> None:
    async with mesh.running() as sync, asyncio.timeout(1):
        status = await mesh.status("desk", ready)
        assert (await sync.health()).ok

    record = await mesh.bus.resources.get("Agent", "default", "desk")
    assert record is not None
    assert record.origin == "agents/desk.agent.yaml:4"
    assert status.observed_generation == record.generation == 1


async def test_a_bad_edit_is_told_and_the_last_good_version_keeps_serving(mesh: Operated) -> None:
    async with mesh.running():
        await mesh.status("desk", ready)
        write(mesh.folder, {"agents/desk.agent.yaml": agent(extra="  modle: {}\n")})

        refused = await mesh.status("desk", lambda status: status.refused_edit)
        record = await mesh.bus.resources.get("Agent", "default", "desk")
        assert refused.ready
        assert "agents/desk.agent.yaml:7: spec.modle" in refused.refused_edit
        assert record is not None
        assert record.generation == 1

        write(mesh.folder, {"agents/desk.agent.yaml": agent(extra="  prompts: {system: hello}\n")})
        mended = await mesh.status("desk", lambda status: status.observed_generation == 2)
        assert not mended.refused_edit


async def test_an_agent_that_was_never_good_has_a_status_that_says_why(mesh: Operated) -> None:
    write(mesh.folder, {"agents/bad.agent.yaml": agent("bad", provider="nobody")})
    async with mesh.running():
        status = await mesh.status("bad", lambda status: status.refused_edit)
        (condition,) = status.conditions
        assert (condition.type, condition.status, condition.reason) == ("Ready", CONDITION_STATUS_FALSE, "Invalid")
        assert "agents/bad.agent.yaml:6: spec.model.primary.providerRef" in status.refused_edit
        assert await mesh.bus.resources.get("Agent", "default", "bad") is None

        (mesh.folder / "agents/bad.agent.yaml").unlink()
        await mesh.gone("bad")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (agent("new").replace("model:", "modle:"), "agents/new.agent.yaml:5: spec.modle: is an unknown field"),
        (agent("new").replace("astromesh/v1", "astromesh/v9"), "agents/new.agent.yaml:1: apiVersion: cannot be"),
    ],
    ids=["in the spec", "in the head"],
)
async def test_a_new_file_that_was_never_valid_has_a_status_until_it_is_mended(
    mesh: Operated, text: str, line: str
) -> None:
    async with mesh.running():
        write(mesh.folder, {"agents/new.agent.yaml": text})
        status = await mesh.status("new", lambda status: status.refused_edit)
        assert line in status.refused_edit
        assert (status.ready, status.observed_generation) == (False, 0)

        write(mesh.folder, {"agents/new.agent.yaml": agent("new")})
        mended = await mesh.status("new", ready)
        assert not mended.refused_edit


async def test_files_that_name_nobody_have_one_status_until_they_are_mended(mesh: Operated) -> None:
    broken = {"agents/torn.agent.yaml": "spec: [", "agents/odd.agent.yaml": agent("odd").replace("Agent", "Agnet")}
    async with mesh.running():
        write(mesh.folder, broken)
        status = await mesh.status("config", lambda status: "Agnet" in status.refused_edit, CONFIG_FOLDER.kind)
        lines = sorted(status.refused_edit.splitlines())
        assert lines[0].startswith("agents/odd.agent.yaml:2: kind: 'Agnet' is no kind of resource")
        assert lines[1].startswith("agents/torn.agent.yaml:2: is not YAML")
        assert len(lines) == 2

        for name in broken:
            (mesh.folder / name).unlink()
        await mesh.gone("config", CONFIG_FOLDER.kind)


async def test_the_log_says_that_something_serves_on_only_where_it_does(
    mesh: Operated, capsys: pytest.CaptureFixture[str]
) -> None:
    async with mesh.running():
        await mesh.status("desk", ready)
        capsys.readouterr()
        write(mesh.folder, {"agents/new.agent.yaml": agent("new", extra="  modle: {}\n")})
        await mesh.status("new", lambda status: status.refused_edit)
        fresh = capsys.readouterr().out
        write(mesh.folder, {"agents/desk.agent.yaml": agent(extra="  modle: {}\n")})
        await mesh.status("desk", lambda status: status.refused_edit)
        edited = capsys.readouterr().out

    assert "agents/new.agent.yaml" in fresh
    assert "keeps serving" not in fresh
    assert "refused, and what was good before keeps serving" in edited


async def test_switching_a_service_off_and_on_is_seen_in_the_agents_that_need_it(mesh: Operated) -> None:
    mesh.answers.failures["rag"] = Unavailable("rag does not answer")
    searching = agent(extra="  knowledge: {pipeline: docs}\n")
    write(mesh.folder, {"rag/docs.rag.yaml": PIPELINE, "agents/desk.agent.yaml": searching})
    write(mesh.folder, {"runtime.yaml": RUNTIME + "  services: {rag: false}\n"})

    def disabled(status: ResourceStatus) -> bool:
        return any(condition.reason == "ServiceDisabled" for condition in status.conditions)

    async with mesh.running():
        await mesh.status("desk", disabled)
        await mesh.status("docs", disabled, "RAGPipeline")
        del mesh.answers.failures["rag"]
        await mesh.status("desk", ready)
        mesh.answers.failures["rag"] = Unavailable("rag does not answer")
        await mesh.status("desk", disabled)
        write(mesh.folder, {"runtime.yaml": RUNTIME})
        await mesh.status("desk", lambda status: not disabled(status))


async def test_what_goes_on_by_itself_leaves_no_spans(mesh: Operated) -> None:
    exporter = InMemorySpanExporter()
    mesh.telemetry = Telemetry(collecting(exporter))
    async with mesh.running():
        await mesh.status("desk", ready)
        mesh.answers.tools = ["search"]
        await mesh.status("desk", lambda status: any(c.message == "search" for c in status.conditions))

    assert exporter.get_finished_spans() == ()


async def test_what_leaves_the_folder_leaves_the_mesh(mesh: Operated) -> None:
    async with mesh.running():
        await mesh.status("desk", ready)
        (mesh.folder / "agents/desk.agent.yaml").unlink()

        await mesh.gone("desk")


async def test_what_left_the_folder_while_nobody_watched_leaves_at_the_next_start(mesh: Operated) -> None:
    async with mesh.running():
        await mesh.status("desk", ready)
    (mesh.folder / "agents/desk.agent.yaml").unlink()

    async with mesh.running():
        await mesh.gone("desk")


async def test_a_feature_that_is_not_built_is_stored_and_named_by_file_and_field(mesh: Operated) -> None:
    pattern = "  orchestration: {pattern: supervisor}\n"
    write(mesh.folder, {"agents/boss.agent.yaml": agent("boss", extra=pattern)})
    async with mesh.running():
        status = await mesh.status("boss", lambda status: status.conditions)
        await mesh.status("desk", ready)

    (condition,) = status.conditions
    assert (condition.type, condition.reason) == ("Ready", "NotSupported")
    assert "agents/boss.agent.yaml:7: spec.orchestration.pattern" in condition.message
    assert await mesh.bus.resources.get("Agent", "default", "boss") is not None


async def test_a_provider_that_the_api_adds_later_mends_an_edit_that_missed_it(mesh: Operated) -> None:
    write(mesh.folder, {"agents/late.agent.yaml": agent("late", provider="later")})
    async with mesh.running():
        await mesh.status("late", lambda status: status.refused_edit)
        (provider,) = load_text(PROVIDERS.replace("offline", "later"), "").resources
        record = record_of(provider)
        record.managed_by = MANAGED_BY_API
        await mesh.bus.resources.put(record)

        await mesh.status("late", ready)


async def test_an_agent_follows_its_services_up_and_down(mesh: Operated) -> None:
    mesh.answers.failures["tools"] = Unavailable("starting")
    async with mesh.running():
        waiting = await mesh.status("desk", lambda status: status.conditions)
        assert "ToolsRegistered" in waiting.conditions[-1].message
        del mesh.answers.failures["tools"]
        up = await mesh.status("desk", ready)
        mesh.answers.providers = [ProviderHealth(provider="extractive", reason="gone")]
        down = await mesh.status("desk", lambda status: not status.ready)

    tools = {condition.type: condition.last_transition_unix_nano for condition in up.conditions}["ToolsRegistered"]
    assert {c.type: c.last_transition_unix_nano for c in down.conditions}["ToolsRegistered"] == tools


async def test_a_folder_that_is_replaced_whole_is_still_watched(mesh: Operated) -> None:
    async with mesh.running():
        await mesh.status("desk", ready)
        mesh.folder.rename(mesh.folder.parent / "old")
        write(mesh.folder, {"providers.yaml": PROVIDERS, "agents/new.agent.yaml": agent("new")})

        await mesh.status("new", ready)
        await mesh.gone("desk")


async def test_a_server_that_was_away_is_caught_up_with(mesh: Operated, nats: NatsServer) -> None:
    async with mesh.running():
        await mesh.status("desk", ready)
        await nats.kill()
        write(mesh.folder, {"agents/new.agent.yaml": agent("new")})
        await asyncio.sleep(0.3)
        await nats.restart()
        mesh_of_now = Operated(mesh.bus, mesh.folder, mesh.answers)

        await mesh_of_now.status("new", ready)


async def test_a_server_that_is_away_as_the_operator_begins_to_listen_is_waited_for(
    bus: Bus, nats: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    await nats.kill()
    registry = CollectorRegistry()
    listening = asyncio.create_task(listen(bus, lambda observation: heard.put_nowait(observation.ref.name), registry))

    async def told() -> bool:
        return listening.done() or "observations are not heard yet" in capsys.readouterr().out

    await until(told, 15)
    await nats.restart()
    async with asyncio.timeout(15):
        while True:
            try:
                await Observations(bus).tell(ResourceRef(kind="RAGPipeline", namespace="default", name="docs"), [], {})
                break
            except TemporaryError:
                await asyncio.sleep(0.1)
        assert await heard.get() == "docs"
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_pipeline_is_as_the_rag_service_tells_also_after_a_restart(mesh: Operated) -> None:
    write(mesh.folder, {"rag/docs.rag.yaml": PIPELINE})
    told = ("StoreConnected", "EmbeddingModelLoaded", "IngestionComplete", "IndexHealthy")
    conditions = [Condition(type=name, status=CONDITION_STATUS_TRUE, reason="Told") for name in told]
    async with mesh.running():
        waiting = await mesh.status("docs", lambda status: status.conditions, "RAGPipeline")
        assert not waiting.ready
        await Observations(mesh.bus).tell(waiting.ref, conditions[:2], {"documents": 3})
        await mesh.status("docs", lambda status: status.figures_json, "RAGPipeline")
        await Observations(mesh.bus).tell(waiting.ref, conditions[2:], {"chunks": 9})
        full = await mesh.status("docs", ready, "RAGPipeline")
    async with mesh.running():
        await mesh.status("desk", ready)
        again = await mesh.bus.status.get("RAGPipeline", "default", "docs")

    assert full.figures_json == '{"documents":3,"chunks":9}'
    assert again == full


async def test_a_provider_is_as_the_router_tells_while_it_serves(mesh: Operated) -> None:
    told = ("EndpointReachable", "ModelsAvailable", "CircuitClosed")
    conditions = [Condition(type=name, status=CONDITION_STATUS_TRUE, reason="Told") for name in told]
    async with mesh.running():
        waiting = await mesh.status("offline", lambda status: status.conditions, "Provider")
        await Observations(mesh.bus).tell(waiting.ref, conditions, {})
        up = await mesh.status("offline", ready, "Provider")
        assert all(condition.last_transition_unix_nano for condition in up.conditions), "though none was told"

        opened = Condition(
            type="CircuitClosed", status=CONDITION_STATUS_FALSE, reason="Open", message="after 3 failures"
        )
        await Observations(mesh.bus).tell(waiting.ref, [*conditions[:2], opened], {})
        down = await mesh.status("offline", lambda status: not status.ready, "Provider")
        told_now = {condition.type: condition.message for condition in down.conditions}
        assert told_now["CircuitClosed"] == "after 3 failures"
        assert told_now["Ready"] == "CircuitClosed: after 3 failures"
