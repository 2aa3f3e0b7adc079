"""A fake server of Anthropic's Messages API: its events, tool calls in fragments, signed thinking, error bodies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import orjson

from astromesh_testing.models.loopback import Exchange
from astromesh_testing.models.replies import Call, Refusal, Reply
from astromesh_testing.models.scripted import ChatRequest, JsonObject, ScriptedModelServer, play_pieces

VERSION = "2023-06-01"
SIGNATURE = "EqQBCgIYAhIM-fake"
CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")


class AnthropicServer(ScriptedModelServer):
    """Speaks `POST /v1/messages` and `GET /v1/models`; `endpoint` is what goes into an agent's YAML.

    Refuses what the API refuses: see `complaint_about`. It lists 20 models unless told how many.
    """

    chat_path = "/v1/messages"

    @property
    def endpoint(self) -> str:
        return self.url

    async def answer_other(self, exchange: Exchange) -> None:
        path, _, query = exchange.request.path.partition("?limit=")
        if path == "/v1/models":
            limit = int(query or 20)
            listed = [{"type": "model", "id": name, "display_name": name} for name in self.models[:limit]]
            page = {"data": listed, "has_more": len(self.models) > limit}
            await exchange.send(200, orjson.dumps(page), "application/json")
            return
        await exchange.send(404, self.error_body(Refusal(404, "no such page", "not_found_error")), "application/json")

    def error_body(self, refusal: Refusal) -> bytes:
        return orjson.dumps(failure(refusal.kind, refusal.message))

    async def answer_chat(self, exchange: Exchange, request: ChatRequest, reply: Reply) -> None:
        complaint = complaint_about(request)
        if complaint:
            refusal = Refusal(400, complaint, "invalid_request_error")
            await exchange.send(400, self.error_body(refusal), "application/json")
            return
        await exchange.begin("text/event-stream")
        await exchange.piece(start(str(request.body.get("model")), reply))
        bad = (
            event(failure(reply.error or "overloaded_error", "the engine died")),
            b"event: ping\ndata: {not json\n\n",
        )
        await play_pieces(exchange, reply, list(pieces(reply)), end(reply), bad)


def complaint_about(request: ChatRequest) -> str:
    """Why the API refuses a request; empty where it does not."""
    if request.headers.get("anthropic-version") != VERSION:
        return "anthropic-version: header is required"
    bound = request.body.get("max_tokens")
    if not isinstance(bound, int) or bound < 1:
        return "max_tokens: Field required"
    budget = thinking_budget(request)
    if budget >= bound:
        return "`max_tokens` must be greater than `thinking.budget_tokens`"
    if budget and request.body.get("temperature", 1) != 1:
        return "`temperature` may only be set to 1 when thinking is enabled"
    return complaint_about_messages(request.messages, thinks=bool(budget))


def complaint_about_messages(messages: list[JsonObject], *, thinks: bool) -> str:
    """Why the API refuses messages; empty where it does not."""
    last = messages[-1].get("content")
    if messages[-1].get("role") == "assistant" and isinstance(last, str) and last != last.rstrip():
        return "messages: final assistant content cannot end with trailing whitespace"
    written = [block for message in messages for block in blocks(message)]
    if any(block.get("type") == "text" and not str(block.get("text")).strip() for block in written):
        return "messages: text content blocks must contain non-whitespace text"
    if any(not CALL_ID.fullmatch(str(block.get("id"))) for block in written if block.get("type") == "tool_use"):
        return "messages: tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
    if thinks and begun_without_thinking(messages):
        return "messages: Expected `thinking` or `redacted_thinking`, but found `tool_use`"
    return ""


def thinking_budget(request: ChatRequest) -> int:
    """Tokens that a request sets aside for thinking."""
    thinking = cast(JsonObject, request.body.get("thinking") or {})
    return cast(int, thinking.get("budget_tokens", 0)) if thinking.get("type") == "enabled" else 0


def begun_without_thinking(messages: list[JsonObject]) -> bool:
    """Whether the model's turn that goes on here began with something else than a thought."""
    turn = 0
    for place, message in enumerate(messages):
        asks = message.get("role") == "user" and any(block.get("type") != "tool_result" for block in blocks(message))
        turn = place if asks else turn
    own = [message for message in messages[turn:] if message.get("role") == "assistant"]
    return bool(own) and not str(blocks(own[0])[0].get("type")).endswith("thinking")


def blocks(message: JsonObject) -> list[JsonObject]:
    """A message's content, text being one block."""
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else cast("list[JsonObject]", content)


def failure(kind: str, message: str) -> JsonObject:
    """An error, as a body and as an event."""
    return {"type": "error", "error": {"type": kind, "message": message}}


def event(data: JsonObject) -> bytes:
    """One server-sent event, named by its type."""
    return b"event: %b\ndata: %b\n\n" % (str(data["type"]).encode(), orjson.dumps(data))


def start(model: str, reply: Reply) -> bytes:
    """The beginning of a message, and a ping."""
    message: JsonObject = {"id": "msg_fake", "type": "message", "role": "assistant", "model": model, "content": []}
    if reply.tokens:
        fresh = reply.tokens.input - reply.tokens.cached
        message["usage"] = {
            "input_tokens": fresh,
            "cache_read_input_tokens": reply.tokens.cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": 1,
        }
    return event({"type": "message_start", "message": message}) + event({"type": "ping"})


def pieces(reply: Reply) -> Iterator[bytes]:
    """The blocks of a reply, one delta a piece; a block's first delta brings its beginning along, and so its end."""
    index = 0
    if reply.thinking:
        think: list[JsonObject] = [{"type": "thinking_delta", "thinking": reply.thinking}]
        yield from block(index, {"type": "thinking", "thinking": "", "signature": ""}, [*think, signed()])
        index += 1
    if reply.text:
        words: list[JsonObject] = [{"type": "text_delta", "text": word} for word in reply.words()]
        yield from block(index, {"type": "text", "text": ""}, words)
        index += 1
    for call in reply.calls:
        yield from block(index, called(call), fragments(call))
        index += 1


def signed() -> JsonObject:
    return {"type": "signature_delta", "signature": SIGNATURE}


def called(call: Call) -> JsonObject:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}


def fragments(call: Call) -> list[JsonObject]:
    """The arguments in two deltas, the first of all being empty, as the API does."""
    middle = len(call.arguments) // 2
    parts = ["", call.arguments[:middle], call.arguments[middle:]]
    return [{"type": "input_json_delta", "partial_json": part} for part in parts]


def block(index: int, begun: JsonObject, deltas: list[JsonObject]) -> Iterator[bytes]:
    """A block's events, in as many pieces as it has deltas."""
    head = event({"type": "content_block_start", "index": index, "content_block": begun})
    written = [event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
    *most, last = [head + written[0], *written[1:]]
    yield from most
    yield last + event({"type": "content_block_stop", "index": index})


def end(reply: Reply) -> list[bytes]:
    """The end of a message: its reason, the usage in all, and the mark."""
    reason = reply.finish or ("tool_use" if reply.calls else "end_turn")
    closing: JsonObject = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
    if reply.tokens:
        closing["usage"] = {"output_tokens": reply.tokens.output}
    return [event(closing), event({"type": "message_stop"})]
