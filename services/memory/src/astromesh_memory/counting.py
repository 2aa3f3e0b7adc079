"""How many tokens a turn has: by the model's own tokenizer where that lies on this machine, else about."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from astromesh.v1.values_pb2 import Message
from astromesh_core.events.contents import plain
from astromesh_core.events.token_estimates import MESSAGE_TOKENS, PICTURE_TOKENS, message_tokens
from astromesh_core.resources.agent import AgentSpec
from astromesh_native.wordpiece import TokenReader, token_reader

_TOKENIZER_FILE = "tokenizer.json"


class Counter(NamedTuple):
    """Counts the tokens of messages."""

    tokens_of: Callable[[Iterable[Message]], int]
    exact: bool
    """Whether the texts are counted by the model's tokenizer. What frames a message is estimated in any case, and so is
    a picture."""
    reader: TokenReader | None = None


def counter_of(spec: AgentSpec, models: Path) -> Counter:
    """The counter for the agent's first model. Of a vendor's model nobody but the vendor has the tokenizer."""
    first = spec.model.first
    file = models / (first.model or "") / _TOKENIZER_FILE
    if first.provider == "onnx" and file.is_file():
        reader = _reader(file, file.stat().st_mtime_ns)
        return Counter(partial(_counted, reader), exact=True, reader=reader)
    return Counter(_estimated, exact=False)


def _estimated(messages: Iterable[Message]) -> int:
    return sum(map(message_tokens, messages))


def _counted(reader: TokenReader, messages: Iterable[Message]) -> int:
    return sum(_of_message(reader, message) for message in messages)


def _of_message(reader: TokenReader, message: Message) -> int:
    texts = [plain(message.content)]
    for call in message.tool_calls:
        texts += (call.name, plain(call.arguments))
    tokens = sum(reader.count(text) for text in texts if text)
    return MESSAGE_TOKENS + PICTURE_TOKENS * len(message.images) + tokens


@lru_cache(maxsize=8)
def _reader(file: Path, changed: int) -> TokenReader:
    del changed
    return token_reader(file)
