from collections.abc import Sequence

from google.protobuf.message import Message

class ServerReflectionRequest(Message):
    def __init__(self, *, list_services: str = ...) -> None: ...

class ServiceResponse(Message):
    name: str

class ListServiceResponse(Message):
    @property
    def service(self) -> Sequence[ServiceResponse]: ...

class ServerReflectionResponse(Message):
    @property
    def list_services_response(self) -> ListServiceResponse: ...
