"""Which models an agent may use, looked up among the mesh's resources: agents by version, providers as they are now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from astromesh.v1.control_pb2 import ResourceRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import NotFound
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.compiled import Compiled, Specs
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.references import ResourceKey, refer
from astromesh_router.candidates import NamedProvider, Pool, pool_of, pool_of_provider, references


class Resources(Specs, Protocol):
    """The resources of the mesh."""

    async def get(self, kind: str, namespace: str, name: str) -> ResourceRecord | None:
        """The resource as it is now."""
        ...


class DeclaredCandidates:
    """The candidates of agents and providers.

    A run keeps its agent's version; a change of a Provider holds for its next calls too.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._agents = Compiled(resources, _agent)
        self._providers = Compiled(resources, _spec)

    async def pool(self, ref: ResourceRef, role: str) -> Pool:
        """What an agent's role, or a Provider alone, offers. Without a hash, of the version of now.

        Raises NotFound for what does not exist, InvalidInput for parameters that cannot be.
        """
        version = ref if ref.sha256 else await self._current(ResourceKey(ref.kind, ref.namespace, ref.name))
        if ref.kind == "Provider":
            name = f"{ref.namespace}/{ref.name}"
            return pool_of_provider(NamedProvider(name, await self._providers.of(version)))
        agent = await self._agents.of(version)
        kept = agent.pools.get(role)
        if kept is not None and not agent.references:
            return kept.pool
        current = {name: await self._current(refer("Provider", name, ref.namespace)) for name in agent.references}
        versions = [provider.sha256 for provider in current.values()]
        if kept is None or kept.versions != versions:
            providers = {name: await self._provider(provider) for name, provider in current.items()}
            kept = agent.pools[role] = _Kept(pool_of(version, agent.spec, providers, role), versions)
        return kept.pool

    async def _provider(self, version: ResourceRef) -> NamedProvider:
        return NamedProvider(f"{version.namespace}/{version.name}", await self._providers.of(version))

    async def _current(self, key: ResourceKey) -> ResourceRef:
        record = await self._resources.get(key.kind, key.namespace, key.name)
        if record is None:
            raise NotFound(f"there is no {key}")
        return record.ref


@dataclass(frozen=True)
class _Kept:
    """A pool, and the versions of the Providers that had a say in it."""

    pool: Pool
    versions: list[bytes]


@dataclass(frozen=True)
class _Agent:
    """An agent version and its pools, by role."""

    spec: AgentSpec
    references: tuple[str, ...]
    pools: dict[str, _Kept] = field(default_factory=dict[str, _Kept])


def _agent(ref: ResourceRef, spec_json: str) -> _Agent:
    spec = AgentSpec.from_json(spec_json)
    return _Agent(spec, tuple(references(spec)))


def _spec(ref: ResourceRef, spec_json: str) -> ProviderSpec:
    return ProviderSpec.from_json(spec_json)
