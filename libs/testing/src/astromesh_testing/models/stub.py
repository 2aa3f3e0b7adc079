"""An OpenAI-compatible model that answers at once, for benchmarks: `python -m astromesh_testing.models.stub --port N`.

A chat with tools and no tool result since the last question gets a call of the first tool, any other chat a text;
streamed where asked. It costs next to no CPU and never fails: faults are the scripted servers' business.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import cast

import orjson
import uvloop

JsonObject = dict[str, object]
TEXT = "The stub model answers at once: forty-two."
SAMPLE_VALUES: dict[str, object] = {
    "string": "stub",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "array": [],
    "object": {},
}
USAGE = {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28}
WHOLE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def arguments_for(schema: JsonObject) -> str:
    """JSON arguments that satisfy the required properties of a simple schema."""
    properties = cast(dict[str, JsonObject], schema.get("properties") or {})
    required = cast(list[str], schema.get("required") or [])
    chosen = {name: SAMPLE_VALUES.get(str(properties.get(name, {}).get("type")), "stub") for name in required}
    return orjson.dumps(chosen).decode()


def wants_tool(body: JsonObject) -> bool:
    """Whether tools are offered and none has answered since the last question."""
    if not body.get("tools"):
        return False
    for message in reversed(cast(list[JsonObject], body["messages"])):
        if message["role"] == "tool":
            return False
        if message["role"] == "user":
            return True
    return True


def message_for(body: JsonObject) -> tuple[JsonObject, str]:
    """The assistant's message and its finish reason."""
    if not wants_tool(body):
        return {"role": "assistant", "content": TEXT}, "stop"
    tool = cast(list[JsonObject], body["tools"])[0]
    function = cast(JsonObject, tool["function"])
    called = {"name": function["name"], "arguments": arguments_for(cast(JsonObject, function.get("parameters") or {}))}
    number = len(cast(list[object], body["messages"]))
    call = {"index": 0, "id": f"call_stub_{number}", "type": "function", "function": called}
    return {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"


def whole_reply(message: JsonObject, finish: str) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    reply = {"id": "stub", "object": "chat.completion", "created": 1, "model": "stub-1", "choices": [choice]}
    body = orjson.dumps({**reply, "usage": USAGE})
    return WHOLE_HEAD % len(body) + body


def streamed_reply(message: JsonObject, finish: str) -> bytes:
    """A whole stream in one write: text in two deltas or the call, the finish, the usage, the end."""
    text = message["content"]
    halves = [TEXT[: len(TEXT) // 2], TEXT[len(TEXT) // 2 :]]
    deltas = [{"content": half} for half in halves] if text else [message]
    choices: list[JsonObject] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    common: JsonObject = {"id": "stub", "object": "chat.completion.chunk", "created": 1, "model": "stub-1"}
    chunks: list[JsonObject] = [{**common, "choices": [choice]} for choice in choices]
    chunks.append({**common, "choices": [], "usage": USAGE})
    events = b"".join(b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks) + b"data: [DONE]\n\n"
    return STREAM_HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(events), events)


STREAMED_TEXT = streamed_reply({"role": "assistant", "content": TEXT}, "stop")
MODELS = b'{"object":"list","data":[{"id":"stub-1","object":"model","owned_by":"stub"}]}'


def respond(method: bytes, body: bytes) -> bytes:
    """The bytes of the reply to one request."""
    if method == b"GET":
        return WHOLE_HEAD % len(MODELS) + MODELS
    request = cast(JsonObject, orjson.loads(body))
    if not request.get("stream"):
        return whole_reply(*message_for(request))
    return streamed_reply(*message_for(request)) if wants_tool(request) else STREAMED_TEXT


class StubProtocol(asyncio.Protocol):
    """HTTP/1.1 with keep-alive; requests carry a content-length."""

    def __init__(self) -> None:
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            head = self._pending[:end]
            length = content_length(head)
            if len(self._pending) < end + 4 + length:
                return
            body = self._pending[end + 4 : end + 4 + length]
            self._pending = self._pending[end + 4 + length :]
            method, _ = head.split(b" ", 1)
            self._transport.write(respond(method, body))


def content_length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(b"content-length:")
    return int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def serve(host: str, port: int) -> None:
    """Serves until cancelled; says where on standard output once it listens."""
    server = await asyncio.get_running_loop().create_server(StubProtocol, host, port, backlog=1024)
    bound = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"listening on http://{host}:{bound}/v1\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    options = parser.parse_args()
    uvloop.run(serve(options.host, options.port))


if __name__ == "__main__":
    main()
