"""A router behind its gRPC methods, with resources in memory: what the tests of the whole service share."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from astromesh.v1.control_pb2 import ResourceRecord
from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.router_pb2_grpc import RouterServiceStub, add_RouterServiceServicer_to_server
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import NotFound
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.rpc.ports import Channel, RpcServer
from astromesh_router.calls import Calls
from astromesh_router.declared import DeclaredCandidates
from astromesh_router.service import RouterService

from .asking import Gathered

if TYPE_CHECKING:
    from astromesh.v1.router_pb2_grpc import RouterServiceAsyncStub


@dataclass
class FakeResources:
    """Keeps specs in memory, by hash and by name."""

    specs: dict[bytes, str] = field(default_factory=dict[bytes, str])
    current: dict[tuple[str, str, str], ResourceRef] = field(default_factory=dict[tuple[str, str, str], ResourceRef])

    def put(self, kind: str, name: str, spec: AgentSpec | ProviderSpec, namespace: str = "default") -> ResourceRef:
        text = spec.to_json()
        ref = ResourceRef(kind=kind, namespace=namespace, name=name, sha256=sha256(text.encode()).digest())
        self.specs[ref.sha256] = text
        self.current[kind, namespace, name] = ref
        return ref

    async def by_hash(self, ref: ResourceRef) -> str:
        if ref.sha256 not in self.specs:
            raise NotFound(f"no version of {ref.name}")
        return self.specs[ref.sha256]

    async def get(self, kind: str, namespace: str, name: str) -> ResourceRecord | None:
        ref = self.current.get((kind, namespace, name))
        return None if ref is None else ResourceRecord(ref=ref)


@dataclass
class Served:
    """A router in a placement, with its resources."""

    calls: Calls
    resources: FakeResources = field(default_factory=FakeResources)

    def register(self, server: RpcServer) -> None:
        add_RouterServiceServicer_to_server(RouterService(DeclaredCandidates(self.resources), self.calls), server)

    def agent(self, *models: dict[str, object], name: str = "a") -> ResourceRef:
        spec = AgentSpec.model_validate({"model": {"primary": models[0], "fallback": list(models[1:])}}, strict=False)
        return self.resources.put("Agent", name, spec)

    def provider(self, name: str, spec: dict[str, object]) -> ResourceRef:
        return self.resources.put("Provider", name, ProviderSpec.model_validate(spec, strict=False))

    def declared(self, text: str) -> ResourceRef:
        """What a file declares; the first agent in it. All of it is built, roles that no pattern asks for aside."""
        loaded = load_text(text, "test.yaml")
        assert loaded.problems == ()
        gaps = [str(gap) for resource in loaded.resources for gap in unsupported(resource)]
        assert [gap for gap in gaps if "never asks for the role" not in gap] == []
        refs = list[ResourceRef]()
        for resource in loaded.resources:
            assert isinstance(resource.spec, AgentSpec | ProviderSpec)
            refs.append(self.resources.put(resource.key.kind, resource.key.name, resource.spec))
        return next(ref for ref in refs if ref.kind == "Agent")


def stub_of(channel: Channel) -> RouterServiceAsyncStub:
    return RouterServiceStub(channel)


async def answer(stub: RouterServiceAsyncStub, request: CompleteRequest) -> Gathered:
    """The whole stream of one call."""
    gathered = Gathered()
    async for part in stub.Complete(request):
        gathered.add(part)
    return gathered
