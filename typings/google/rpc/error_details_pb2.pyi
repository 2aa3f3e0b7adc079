from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

class ErrorInfo(Message):
    DESCRIPTOR: Descriptor
    reason: str
    domain: str
    def __init__(self, *, reason: str = ..., domain: str = ...) -> None: ...

class RetryInfo(Message):
    DESCRIPTOR: Descriptor
    @property
    def retry_delay(self) -> Duration: ...
    def __init__(self, *, retry_delay: Duration = ...) -> None: ...
