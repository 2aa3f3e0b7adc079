"""What vendors do differently within one wire format, as rows of a table, each with the vendor's page that says so.

The code of a dialect asks the profile and never the provider's name. A new vendor of a known dialect is a row here and
one in `astromesh_core.resources.vendors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from pydantic import JsonValue

from astromesh_router.candidates import Candidate
from astromesh_router.dialects.call_ids import MISTRAL_IDS, OPENAI_IDS, CallIds
from astromesh_router.dialects.schemas import (
    SchemaForm,
    anthropic_form,
    llamacpp_form,
    no_form,
    object_form,
    ollama_form,
    onnx_form,
    openai_form,
    tgi_form,
)

Fields = Mapping[str, JsonValue]
NO_FIELDS: Fields = {}


@dataclass(frozen=True)
class Profile:
    """How one vendor, or some of its models, wants to be asked and read. Paths are relative to the endpoint."""

    source: str
    """The vendor's page that the row comes from."""
    chat_path: str = "/chat/completions"
    models_path: str = "/models"
    versioned_chat_path: str = ""
    """Where candidates with an `api_version` are asked; `{model}` and `{api_version}` are filled in."""
    versioned_models_path: str = ""
    health_path: str = ""
    """Answers 200 once the server can take calls; on the server's root. Empty: the list of models says as much."""
    lists_models: bool = True
    """Whether the list of models holds the names that requests use."""
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Sent with every request."""
    length_field: str = "max_tokens"
    """What the bound on a reply's length is called."""
    longest_reply: int = 0
    """In tokens: the bound on a reply that nobody else bounds, where the vendor wants one."""
    fixed: Fields = field(default_factory=lambda: NO_FIELDS)
    """Parameters that the model takes at this value alone."""
    schema_form: SchemaForm = openai_form
    schema_in_words: bool = False
    """Whether the schema is said in the system message too, always."""
    schema_beside_tools: bool = True
    """Whether a grammar for the answer leaves room for tool calls. Where not, the schema is said in words to a model
    that has tools."""
    reasoning_fields: tuple[str, ...] = ("reasoning_content", "reasoning")
    """Where thinking stands in a delta; the first that holds text counts."""
    reasoning_back: str = ""
    """The field in which the thinking of this turn goes back beside its tool calls; empty: it does not."""
    think_tags: bool = False
    """Whether thinking comes as a leading `<think>` block within the answer's text."""
    always_finishes: bool = False
    """Whether a reply that has its end and no finish reason was broken off."""
    silence: str = ""
    """What to do about a reply of no bytes, where the vendor sends one to what it refuses; empty: it never does."""
    call_ids: CallIds = OPENAI_IDS
    """The ids of tool calls that it takes back."""
    no_content: str | None = None
    """The content of a message that is nothing but tool calls."""
    continuation: Fields | None = None
    """What asks a model to go on with an answer that stands as the last assistant message; None: it cannot."""
    continuing_server: str = ""
    """What the `Server` header says of a server that goes on, where others of the same kind begin anew."""

    @property
    def continues(self) -> bool:
        """Whether a model goes on with the beginning of an answer.

        Never ask so for a reply that has to match a schema: a grammar begins anew with each call.
        """
        return self.continuation is not None


OPENAI = Profile("https://platform.openai.com/docs/api-reference/chat")
REASONING = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}

PROVIDERS: dict[str, Profile] = {
    "openai_compat": OPENAI,
    "openai": OPENAI,
    "azure_openai": replace(
        OPENAI,
        source="https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle",
        chat_path="/openai/v1/chat/completions",
        models_path="/openai/v1/models",
        versioned_chat_path="/openai/deployments/{model}/chat/completions?api-version={api_version}",
        versioned_models_path="/openai/models?api-version={api_version}",
        lists_models=False,  # it lists models, and requests name deployments
        key_header="api-key",
        key_prefix="",
    ),
    "vllm": Profile(
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server/",
        chat_path="/v1/chat/completions",
        models_path="/v1/models",
        health_path="/health",
        schema_beside_tools=False,
        reasoning_fields=("reasoning", "reasoning_content"),
        reasoning_back="reasoning",
        continuation={"continue_final_message": True, "add_generation_prompt": False},
    ),
    "llamacpp": Profile(
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        chat_path="/v1/chat/completions",
        models_path="/v1/models",
        health_path="/health",
        lists_models=False,  # it answers to any name
        schema_form=llamacpp_form,
        schema_beside_tools=False,
        reasoning_back="reasoning_content",
        always_finishes=True,  # llama-cpp-python breaks a reply off where another request comes, and ends it properly
        silence="llama-cpp-python does so where the prompt is beyond its context: declare context_window",
        no_content="",  # llama-cpp-python refuses null
        continuation=NO_FIELDS,
        continuing_server="llama.cpp",  # llama-cpp-python takes an answer that has begun for a whole one
    ),
    "hf_tgi": Profile(
        "https://huggingface.co/docs/text-generation-inference/messages_api",
        chat_path="/v1/chat/completions",
        models_path="/v1/models",
        health_path="/health",
        lists_models=False,  # it answers to any name
        schema_form=tgi_form,
        schema_beside_tools=False,
    ),
    "ollama": Profile(
        "https://docs.ollama.com/api/chat",
        chat_path="/api/chat",
        models_path="/api/tags",
        length_field="num_predict",
        schema_form=ollama_form,
        schema_beside_tools=False,
        reasoning_fields=("thinking",),
        reasoning_back="thinking",
        continuation=NO_FIELDS,
    ),
    "onnx": Profile(
        "https://onnxruntime.ai/docs/genai/",
        lists_models=False,  # folders may lie anywhere
        schema_form=onnx_form,
        schema_beside_tools=False,
        reasoning_back="reasoning_content",  # the field that chat templates read
        think_tags=True,
        continuation=NO_FIELDS,
    ),
    "anthropic": Profile(
        "https://docs.claude.com/en/api/messages",
        chat_path="/v1/messages",
        models_path="/v1/models?limit=1000",  # 20 unless told
        longest_reply=4096,
        key_header="x-api-key",
        key_prefix="",
        headers={"anthropic-version": "2023-06-01"},
        schema_form=anthropic_form,
    ),
}
"""By provider type."""

UNKNOWN = Profile("", schema_form=no_form, reasoning_fields=())
"""Of what is asked without a vendor's wire format: the built-in models and users' own classes."""


@dataclass(frozen=True)
class ModelRow:
    """What some models of a provider do otherwise: those whose name, without an owner before a slash, begins so."""

    providers: frozenset[str]
    prefixes: tuple[str, ...]
    source: str
    change: Callable[[Profile], Profile]


COMPATIBLE = frozenset({"openai_compat", "openai"})
OPENAI_MODELS = COMPATIBLE | {"azure_openai"}

MODELS: tuple[ModelRow, ...] = (
    ModelRow(
        OPENAI_MODELS,
        ("o1", "o3", "o4", "gpt-5"),
        "https://platform.openai.com/docs/guides/reasoning",
        lambda profile: replace(profile, length_field="max_completion_tokens", fixed=REASONING),
    ),
    ModelRow(  # from 5.1 on they take a temperature where they do not reason; the chat models always do
        OPENAI_MODELS,
        ("gpt-5.", "gpt-5-chat"),
        "https://platform.openai.com/docs/guides/latest-model",
        lambda profile: replace(profile, length_field="max_completion_tokens"),
    ),
    ModelRow(
        COMPATIBLE,
        ("deepseek-chat", "deepseek-reasoner"),
        "https://api-docs.deepseek.com/guides/json_mode",
        lambda profile: replace(
            profile, schema_form=object_form, schema_in_words=True, reasoning_back="reasoning_content"
        ),
    ),
    ModelRow(
        COMPATIBLE | {"vllm"},
        ("mistral-", "ministral-", "magistral-", "codestral-", "devstral-", "pixtral-"),
        MISTRAL_IDS.source,
        lambda profile: replace(profile, call_ids=MISTRAL_IDS),
    ),
    ModelRow(
        frozenset({"anthropic"}),
        ("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"),
        "https://docs.claude.com/en/docs/build-with-claude/prompt-engineering/prefill-claudes-response",
        lambda profile: replace(profile, longest_reply=32_000, continuation=NO_FIELDS),
    ),
    ModelRow(
        frozenset({"anthropic"}),
        ("claude-",),
        "https://docs.claude.com/en/docs/about-claude/models/overview",
        lambda profile: replace(profile, longest_reply=32_000),
    ),
    ModelRow(  # older ones, which know no grammar either
        frozenset({"anthropic"}),
        (
            "claude-3",
            "claude-opus-4-0",
            "claude-opus-4-1",
            "claude-opus-4-2025",
            "claude-sonnet-4-0",
            "claude-sonnet-4-2025",
        ),
        "https://docs.claude.com/en/docs/build-with-claude/structured-outputs",
        lambda profile: replace(profile, continuation=NO_FIELDS, schema_form=no_form),
    ),
    ModelRow(  # TGI reads no thinking out of what they write
        frozenset({"hf_tgi"}),
        ("deepseek-r1", "qwq", "qwen3"),
        "https://huggingface.co/deepseek-ai/DeepSeek-R1",
        lambda profile: replace(profile, think_tags=True),
    ),
)
"""Of those that fit a model, the one with the longest prefix counts."""


def profile_of(candidate: Candidate) -> Profile:
    """How a candidate wants to be asked and read."""
    return _profile(candidate.provider, candidate.model)


@lru_cache(maxsize=1024)
def _profile(provider: str, model: str) -> Profile:
    profile = PROVIDERS.get(provider, UNKNOWN)
    name = model.rpartition("/")[2].lower()
    fitting = [
        (len(prefix), row)
        for row in MODELS
        if provider in row.providers
        for prefix in row.prefixes
        if name.startswith(prefix)
    ]
    if not fitting:
        return profile
    _, row = max(fitting, key=lambda entry: entry[0])
    return replace(row.change(profile), source=row.source)
