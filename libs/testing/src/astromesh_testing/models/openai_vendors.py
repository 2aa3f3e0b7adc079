"""Fake servers of vendors that speak OpenAI's format with ways of their own; each refuses what its vendor refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import orjson

from astromesh_testing.models.loopback import Exchange
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Call, Refusal, Reply, Scripted
from astromesh_testing.models.scripted import ChatRequest, JsonObject


class OpenAIServer(OpenAIChatServer):
    """OpenAI itself, as far as its reasoning models differ (OpenAI, "Reasoning models")."""

    def objection(self, request: ChatRequest) -> Refusal | None:
        reasons = str(request.body.get("model")).startswith(("o1", "o3", "o4", "gpt-5"))
        if reasons and "max_tokens" in request.body:
            return Refusal(400, "Unsupported parameter: use 'max_completion_tokens' instead", "unsupported_parameter")
        if reasons and request.body.get("temperature", 1) != 1:
            return Refusal(400, "Unsupported value: only the default (1) is supported", "unsupported_value")
        return None


class AzureOpenAIServer(OpenAIChatServer):
    """Azure OpenAI (its REST API reference): the v1 API, or with `api_version` the one by deployment."""

    def __init__(self, *script: Scripted, key: str, deployment: str = "", api_version: str = "") -> None:
        super().__init__(*script, models=("gpt-4o",))
        self._key = key
        self.chat_path = "/openai/v1/chat/completions"
        self.models_path = "/openai/v1/models"
        if api_version:
            self.chat_path = f"/openai/deployments/{deployment}/chat/completions?api-version={api_version}"
            self.models_path = f"/openai/models?api-version={api_version}"

    @property
    def endpoint(self) -> str:
        return self.url

    def objection(self, request: ChatRequest) -> Refusal | None:
        if request.headers.get("api-key", "") != self._key or "authorization" in request.headers:
            return Refusal(401, "Access denied due to invalid subscription key", "401")
        return None


class VllmServer(OpenAIChatServer):
    """vLLM's server (its page "OpenAI-Compatible Server"): `reasoning`, null choices beside the usage, `/health`."""

    reasoning_field = "reasoning"
    no_choices = None

    async def answer_other(self, exchange: Exchange) -> None:
        if exchange.request.path == "/health":
            await exchange.send(200, b"", "text/plain")
            return
        await super().answer_other(exchange)

    def objection(self, request: ChatRequest) -> Refusal | None:
        continues = request.body.get("continue_final_message", False)
        if continues and request.body.get("add_generation_prompt", True):
            return Refusal(400, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
        if continues and request.messages[-1].get("role") != "assistant":
            return Refusal(400, "continue_final_message is set but the final message is not from the assistant")
        return None


class LlamaCppServer(OpenAIChatServer):
    """llama-server (llama.cpp, tools/server/README.md): `/health`, 503 while `loading`; JSON by a grammar."""

    loading = False
    software = "llama.cpp"

    async def answer_other(self, exchange: Exchange) -> None:
        if exchange.request.path == "/health":
            body = {"error": {"message": "Loading model"}} if self.loading else {"status": "ok"}
            await exchange.send(503 if self.loading else 200, orjson.dumps(body), "application/json")
            return
        await super().answer_other(exchange)

    def objection(self, request: ChatRequest) -> Refusal | None:
        wanted = wanted_format(request)
        if request.body.get("tools") and ("grammar" in request.body or wanted):
            return Refusal(400, "Cannot use custom grammar constraints with tools.")
        if wanted.get("type") == "json_object" and not isinstance(wanted.get("schema", {}), dict):
            return Refusal(400, "response_format.schema must be an object")
        roles = [message.get("role") for message in request.messages[-2:]]
        if roles == ["assistant", "assistant"]:
            return Refusal(400, "Cannot have 2 or more assistant messages at the end of the list.")
        return None


class LlamaCppPythonServer(OpenAIChatServer):
    """llama-cpp-python's server, 0.3.36, as `tests/models` meets it.

    It knows no `/health`, counts nothing in a stream, says id and name in every fragment of a tool call, answers 500 to
    what it cannot read, and takes an answer that has begun for a whole one.
    """

    reports_usage = False
    software = "uvicorn"

    def deltas(self, reply: Reply) -> list[JsonObject]:
        told: list[JsonObject] = [{"content": word} for word in reply.words()]
        for index, call in enumerate(reply.calls):
            told += [called(index, call, letter) for letter in call.arguments]
        return [{"role": "assistant", "content": None, "function_call": None, "tool_calls": None}, *told]

    def objection(self, request: ChatRequest) -> Refusal | None:
        if any("content" in message and message["content"] is None for message in request.messages):
            return Refusal(500, "7 validation errors: Input should be a valid string", "internal_server_error")
        if wanted_format(request).get("type", "text") not in ("text", "json_object"):
            return Refusal(500, "Input should be 'text' or 'json_object'", "internal_server_error")
        return None


def called(index: int, call: Call, arguments: str) -> JsonObject:
    """A fragment of a tool call, in both of the places where OpenAI has had them."""
    function = {"name": call.name, "arguments": arguments}
    fragment = {"index": index, "id": f"call__{index}_{call.name}", "type": "function", "function": function}
    return {"role": None, "content": None, "function_call": function, "tool_calls": [fragment]}


class TgiServer(OpenAIChatServer):
    """Text Generation Inference (its page "Guidance"): a grammar's `value` beside its type, and none beside tools."""

    async def answer_other(self, exchange: Exchange) -> None:
        if exchange.request.path == "/health":
            await exchange.send(200, b"", "text/plain")
            return
        await super().answer_other(exchange)

    def objection(self, request: ChatRequest) -> Refusal | None:
        wanted = wanted_format(request)
        if wanted and (wanted.get("type") not in ("json", "json_object") or not isinstance(wanted.get("value"), dict)):
            return Refusal(422, "response_format: missing field `value`")
        if wanted and request.body.get("tools"):
            return Refusal(422, "Grammar and tools are mutually exclusive")
        return None


def wanted_format(request: ChatRequest) -> Mapping[str, object]:
    """The request's `response_format`; empty where there is none."""
    return cast(JsonObject, request.body.get("response_format") or {})
