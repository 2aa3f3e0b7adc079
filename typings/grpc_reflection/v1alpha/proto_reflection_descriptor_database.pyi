from collections.abc import Iterable

import grpc
from google.protobuf.descriptor_database import DescriptorDatabase

class ProtoReflectionDescriptorDatabase(DescriptorDatabase):
    def __init__(self, channel: grpc.Channel) -> None: ...
    def get_services(self) -> Iterable[str]: ...
