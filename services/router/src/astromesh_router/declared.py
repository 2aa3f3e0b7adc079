"""Which models an agent may use, looked up among the mesh's resources: agents by version, providers as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from astromesh.v1.control_pb2 import ResourceRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import NotFound
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.compiled import Compiled, Specs
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.references import ResourceKey, refer
from astromesh_router.candidates import Candidate, candidate_of_provider, candidates_of, references


class Resources(Specs, Protocol):
    """The resources of the mesh."""

    async def get(self, kind: str, namespace: str, name: str) -> ResourceRecord | None:
        """The resource as it is now."""
        ...


class DeclaredCandidates:
    """The candidates of agents and providers.

    A run keeps its agent's version; a change of a Provider holds from the next call on.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._agents = Compiled(resources, _agent)
        self._providers = Compiled(resources, _provider)

    async def candidates(self, ref: ResourceRef) -> Sequence[Candidate]:
        """The candidates of an agent, in order, or of one Provider. Without a hash, of the version of now.

        Raises NotFound for what does not exist, InvalidInput for parameters that cannot be.
        """
        version = ref if ref.sha256 else await self._current(ResourceKey(ref.kind, ref.namespace, ref.name))
        if ref.kind == "Provider":
            return (candidate_of_provider(await self._providers.of(version)),)
        agent = await self._agents.of(version)
        if isinstance(agent, tuple):
            return agent
        keys = {name: refer("Provider", name, ref.namespace) for name in references(agent)}
        providers = {name: await self._providers.of(await self._current(key)) for name, key in keys.items()}
        return candidates_of(agent, providers)

    async def _current(self, key: ResourceKey) -> ResourceRef:
        record = await self._resources.get(key.kind, key.namespace, key.name)
        if record is None:
            raise NotFound(f"there is no {key}")
        return record.ref


def _agent(ref: ResourceRef, spec_json: str) -> AgentSpec | tuple[Candidate, ...]:
    """The candidates themselves where no Provider has a say in them."""
    agent = AgentSpec.from_json(spec_json)
    return agent if references(agent) else candidates_of(agent, {})


def _provider(ref: ResourceRef, spec_json: str) -> ProviderSpec:
    return ProviderSpec.from_json(spec_json)
