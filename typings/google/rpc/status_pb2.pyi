from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.message import Message

class Status(Message):
    code: int
    message: str
    @property
    def details(self) -> RepeatedCompositeFieldContainer[AnyMessage]: ...
    def __init__(self, *, code: int = ..., message: str = ...) -> None: ...
