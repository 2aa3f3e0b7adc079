"""Providers are followed: no call asks the bus for them, and each call goes by what they are a moment ago."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from astromesh.v1.control_pb2 import MANAGED_BY_API, ResourceRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.records import Change
from astromesh_core.bus.resource_store import ResourceChange
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.candidates import DEFAULT_ROLE
from astromesh_core.resources.provider import ProviderSpec
from astromesh_router.declared import DeclaredCandidates
from astromesh_router.followed import following
from astromesh_testing.waiting import until

from .serving import FakeResources


@dataclass
class Asked(FakeResources):
    """Notes who is asked for, and tells of changes."""

    asked: list[str] = field(default_factory=list[str])
    changes: asyncio.Queue[ResourceChange] = field(default_factory=asyncio.Queue[ResourceChange])

    async def get(self, kind: str, namespace: str, name: str) -> ResourceRecord | None:
        self.asked.append(name)
        return await super().get(kind, namespace, name)

    async def watch(self) -> AsyncGenerator[ResourceChange, None]:
        while True:
            yield await self.changes.get()

    async def tell(self, ref: ResourceRef, *, gone: bool = False) -> None:
        record = None if gone else ResourceRecord(ref=ref)
        self.changes.put_nowait(Change(ref.kind, ref.namespace, ref.name, record))
        await asyncio.sleep(0.01)


@pytest.fixture
def resources() -> Asked:
    return Asked()


def agent(resources: Asked, *providers: str) -> ResourceRef:
    primary, *fallback = ({"providerRef": name} for name in providers)
    spec = {"model": {"primary": primary, "fallback": fallback}}
    return resources.put("Agent", "a", AgentSpec.model_validate(spec, strict=False))


def at(endpoint: str) -> ProviderSpec:
    return ProviderSpec.model_validate({"type": "openai_compat", "endpoint": endpoint, "models": ["m"]}, strict=False)


async def test_what_was_told_of_a_provider_is_not_asked_for(resources: Asked) -> None:
    ref = agent(resources, "lab")
    first = resources.put("Provider", "lab", at("http://first/v1"))
    async with following(resources) as followed:
        candidates = DeclaredCandidates(followed)
        await candidates.pool(ref, DEFAULT_ROLE)
        assert resources.asked == ["lab"]
        await resources.tell(first)
        known = await candidates.pool(ref, DEFAULT_ROLE)
        await resources.tell(resources.put("Provider", "lab", at("http://second/v1")))
        changed = await candidates.pool(ref, DEFAULT_ROLE)
    assert [pool.candidates[0].endpoint for pool in (known, changed)] == ["http://first/v1", "http://second/v1"]
    assert resources.asked == ["lab"]


async def test_a_provider_that_is_gone_is_asked_for_again(resources: Asked) -> None:
    ref = resources.put("Provider", "lab", at("http://first/v1"))
    async with following(resources) as followed:
        await resources.tell(ref)
        await followed.get("Provider", "default", "lab")
        assert resources.asked == []
        await resources.tell(ref, gone=True)
        await followed.get("Provider", "default", "lab")
    assert resources.asked == ["lab"]


async def test_a_pool_is_made_once_for_the_providers_that_it_is_of(resources: Asked) -> None:
    ref = agent(resources, "lab", "spare")
    for name in ("lab", "spare"):
        resources.put("Provider", name, at("http://first/v1"))
    candidates = DeclaredCandidates(resources)
    made = await candidates.pool(ref, DEFAULT_ROLE)
    assert await candidates.pool(ref, DEFAULT_ROLE) is made
    resources.put("Provider", "spare", at("http://second/v1"))
    assert (await candidates.pool(ref, DEFAULT_ROLE)).candidates[1].endpoint == "http://second/v1"


async def test_a_change_on_the_bus_is_heard_of(bus: Bus) -> None:
    ref = ResourceRef(kind="Provider", namespace="default", name="lab")
    async with following(bus.resources) as followed:
        for endpoint in ("http://first/v1", "http://second/v1"):
            record = ResourceRecord(ref=ref, managed_by=MANAGED_BY_API, spec_json=at(endpoint).to_json())
            stored = await bus.resources.put(record)

            async def heard(of: ResourceRecord = stored) -> bool:
                return await followed.get("Provider", "default", "lab") == of

            assert await until(heard)
