"""gRPC reflection on the public port: whoever has no generated code finds the service, describes it and calls it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from astromesh_gateway.app import open_service
from astromesh_testing.mesh import free_ports

from .conftest import Mesh

SERVICE = "astromesh.v1.AgentService"


def ask_without_generated_code(address: str, question: dict[str, str]) -> tuple[set[str], str]:
    """The services that the port lists, and the answer of an agent."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        listed = set(database.get_services())
        method = DescriptorPool(database).FindServiceByName(SERVICE).FindMethodByName("RunAgent")
        request, reply = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = channel.unary_unary(f"/{SERVICE}/RunAgent", request.SerializeToString, reply.FromString)
        return listed, str(MessageToDict(call(ParseDict(question, request()), timeout=20)))


async def test_an_agent_is_found_and_asked_by_reflection_alone(mesh: Mesh) -> None:
    (port,) = free_ports(1)
    settings = mesh.platform.settings.model_copy(update={"grpc_port": port})
    async with open_service(replace(mesh.platform, settings=settings)):
        listed, answer = await asyncio.to_thread(
            ask_without_generated_code, f"127.0.0.1:{port}", {"agent": "agent", "query": "what is it?"}
        )
    assert listed == {
        SERVICE,
        "astromesh.v1.RagService",
        "astromesh.v1.SessionService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert "it is 2" in answer
