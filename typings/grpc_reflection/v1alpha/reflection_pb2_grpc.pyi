import grpc.aio
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

class ServerReflectionStub:
    ServerReflectionInfo: grpc.aio.StreamStreamMultiCallable[ServerReflectionRequest, ServerReflectionResponse]
    def __init__(self, channel: grpc.aio.Channel) -> None: ...

class ServerReflectionServicer: ...

def add_ServerReflectionServicer_to_server(servicer: ServerReflectionServicer, server: grpc.aio.Server) -> None: ...  # noqa: N802 - generated code's name
