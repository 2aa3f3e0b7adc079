"""Provider types: which dialect each speaks and where it answers. Quirks of their wire formats are the router's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.class_paths import class_path, is_class_path
from astromesh_core.resources.problems import did_you_mean


@dataclass(frozen=True)
class Vendor:
    """What is known of a provider type: the dialect it speaks, and where it answers unless told otherwise."""

    dialect: str
    endpoint: str = ""
    api_key_env: str = ""
    """The variable whose key goes to `endpoint`, and to no other address."""
    example: str = ""
    """Where it is, such as, for a type that is nowhere unless told."""
    versioned: bool = False
    """Whether its API comes in versions, named by `api_version`."""
    parameters: frozenset[str] | None = None
    """All that `parameters` of its models may hold; None: the vendor takes others than we know, and judges itself."""

    @property
    def over_http(self) -> bool:
        """Whether it answers at an address of its own; else it is part of the router."""
        return self.dialect not in _IN_PROCESS


_IN_PROCESS = frozenset(("custom", "extractive", "onnx"))

_OF_ONNX = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "max_tokens",
        "min_tokens",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "chat_template_kwargs",
    }
)

VENDORS: dict[str, Vendor] = {
    "extractive": Vendor("extractive", parameters=frozenset()),
    "ollama": Vendor("ollama", "http://localhost:11434"),
    "openai_compat": Vendor("openai_compat", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "openai": Vendor("openai_compat", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "azure_openai": Vendor("openai_compat", example="https://NAME.openai.azure.com", versioned=True),
    "anthropic": Vendor("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    "vllm": Vendor("openai_compat", "http://localhost:8000/v1"),
    "llamacpp": Vendor("openai_compat", "http://localhost:8080/v1"),
    "hf_tgi": Vendor("openai_compat", "http://localhost:8080/v1"),
    "onnx": Vendor("onnx", parameters=_OF_ONNX),
}
"""Every built-in provider type by its canonical name."""

OWN_HARDWARE = frozenset({"extractive", "ollama", "vllm", "llamacpp", "hf_tgi", "onnx"})
"""Provider types that cost nothing by the token unless a price is declared; of all others nobody knows then."""

CUSTOM = Vendor("custom")
"""A provider type that names a user's own class."""

_OTHER_SPELLINGS = {
    "llama_cpp": "llamacpp",
    "huggingface_tgi": "hf_tgi",
    "tgi": "hf_tgi",
    "onnx_runtime": "onnx",
    "azure": "azure_openai",
    "claude": "anthropic",
}
_ELSEWHERE = {
    "litellm": "run its proxy and use openai_compat with the proxy's endpoint",
    "centinela": "use openai_compat with its endpoint",
}


def vendor_of(provider_type: str) -> Vendor:
    """What is known of a checked provider type."""
    return VENDORS.get(provider_type, CUSTOM)


def check_address(provider_type: str, endpoint: str | None, api_version: str | None, *, has_key: bool) -> None:
    """Raises PydanticCustomError where a type needs an endpoint and has none, or has an endpoint, a key or a version
    that nobody reads, or the endpoint holds a password: errors and routes name it."""
    vendor = vendor_of(provider_type)
    if endpoint and "@" in urlsplit(endpoint.replace("${", "")).netloc:
        hint = "leave it out; name the key in api_key_env"
        raise PydanticCustomError("provider", "has a user name or a password in its endpoint", {"hint": hint})
    if provider_type in VENDORS and not vendor.over_http and (endpoint or has_key):
        what = "an endpoint" if endpoint else "a key"
        context = {"what": what, "hint": "leave it out; it is part of the router"}
        raise PydanticCustomError("provider", "names {what}, which is never used", context)
    if vendor.example and not endpoint:
        hint = f"such as endpoint: {vendor.example}"
        raise PydanticCustomError("provider", "names no endpoint", {"hint": hint})
    if api_version and not vendor.versioned:
        versioned = ", ".join(name for name, each in VENDORS.items() if each.versioned)
        hint = f"leave it out; of {versioned} alone there are versions"
        raise PydanticCustomError("provider", "has an api_version", {"hint": hint})


def is_custom(provider_type: str) -> bool:
    """Whether a type names a user's own class, as `package.module:Class`."""
    return is_class_path(provider_type)


def _provider_type(value: object) -> object:
    if not isinstance(value, str):
        return value
    if is_custom(value):
        return class_path(value, "MyProvider")
    name = value.replace("-", "_").replace(".", "_").lower()
    name = _OTHER_SPELLINGS.get(name, name)
    if name in VENDORS:
        return name
    if name in _ELSEWHERE:
        raise PydanticCustomError(
            "provider", "names a provider that Astromesh does not have", {"hint": _ELSEWHERE[name]}
        )
    hint = did_you_mean(name, VENDORS) or "a Provider resource is named by providerRef; types are " + ", ".join(VENDORS)
    raise PydanticCustomError("provider", "is no provider type", {"hint": hint})


ProviderType = Annotated[str, BeforeValidator(_provider_type)]
"""A key of `VENDORS`, whose hyphens and underscores are one, or `package.module:Class`."""
