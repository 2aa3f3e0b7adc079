from collections.abc import Iterable

from grpc_reflection.v1alpha import reflection_pb2_grpc

class ReflectionServicer(reflection_pb2_grpc.ServerReflectionServicer):
    def __init__(self, service_names: Iterable[str]) -> None: ...
