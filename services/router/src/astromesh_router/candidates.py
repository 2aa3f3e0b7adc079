"""The models that a call may go to, in order, out of an agent's declaration. Nothing is sent from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.budgets import Budget
from astromesh_core.resources.candidates import DEFAULT_ROLE, Target, target_of
from astromesh_core.resources.candidates import Candidate as DeclaredCandidate
from astromesh_core.resources.circuit_breakers import CircuitBreaker
from astromesh_core.resources.model_traits import CallSettings, ModelTraits
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.secrets import SecretKeyRef

ADVICE = {
    "ollama": "start it with `ollama serve`, or set endpoint to where it runs",
    "llamacpp": "start llama-server, or set endpoint to where it runs",
    "vllm": "start vLLM, or set endpoint to where it runs",
}
"""What to do when a provider cannot be reached."""


@dataclass(frozen=True)
class Prices:
    """US dollars per 1,000 tokens. Input that is read from a vendor's cache, or written into it, costs what any input
    does unless it has a price."""

    input: float = 0.0
    output: float = 0.0
    cached_input: float | None = None
    cache_write: float | None = None

    @property
    def free(self) -> bool:
        """Whether calls cost nothing."""
        return not (self.input or self.output or self.cached_input or self.cache_write)


@dataclass(frozen=True)
class Patience:
    """Seconds: for the whole call, for its first token, between two tokens. No one reaches beyond the whole."""

    whole: float = 120.0
    first_token: float = 60.0
    """A local model may have to be loaded first; a provider that hangs is left for the next one after this."""
    between_tokens: float = 30.0


@dataclass(frozen=True)
class Candidate:
    """A model to ask: where, in which dialect, how. The key is a reference until a request is sent."""

    provider: str
    dialect: str
    model: str
    endpoint: str = ""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    key: str | SecretKeyRef | None = None
    api_version: str = ""
    patience: Patience = Patience()
    max_retries: int = 1
    """Further attempts at this candidate where a failure may pass, before the next one is asked."""
    prices: Prices = Prices()
    priced: bool = True
    """Whether `prices` say what it costs. Where they do not, they are zero for want of knowledge."""
    quality_score: float | None = None
    context_window: int | None = None
    """In tokens, prompt and reply together."""
    tools: bool | None = None
    vision: bool | None = None
    structured_output: bool | None = None
    """Of these three, None: nobody said."""
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    health_path: str = ""
    """A page of the endpoint's host that says whether it is well; empty: the dialect knows one."""
    resource: str = ""
    """The Provider resource that it comes from, as `namespace/name`; empty where the agent names it in full."""

    @property
    def label(self) -> str:
        """Names it in messages: provider, model, and where."""
        where = f" at {self.endpoint}" if self.endpoint else ""
        return f"{self.provider} {self.model}{where}" if self.model != self.provider else f"{self.provider}{where}"

    @property
    def key_name(self) -> str:
        """How the key's reference reads, never its value; empty where there is none."""
        if isinstance(self.key, SecretKeyRef):
            return f"secretKeyRef {self.key.secret_key_ref.name}/{self.key.secret_key_ref.key}"
        return (self.key or "").replace(":-", "")

    @property
    def advice(self) -> str:
        return ADVICE.get(self.provider, "check the endpoint")


@dataclass(frozen=True)
class Pool:
    """What one role of an agent may choose from, in order of preference."""

    candidates: tuple[Candidate, ...]
    strategy: str = ""
    """Empty: the first that works."""
    agent: str = ""
    """`namespace/name` of the agent; empty for a Provider alone."""
    budget: Budget | None = None
    role: str = DEFAULT_ROLE
    """The role whose models these are: the default one's also for a role that has none of its own."""


def references(agent: AgentSpec) -> list[str]:
    """The Provider resources that an agent's candidates refer to."""
    found = (candidate.provider_ref for _, candidate in agent.model.everywhere())
    return list(dict.fromkeys(name for name in found if name))


def pool_of(ref: ResourceRef, agent: AgentSpec, providers: Mapping[str, NamedProvider], role: str) -> Pool:
    """What an agent's role chooses from: its preferred candidate, then each fallback.

    `providers` holds what each of `references` names.
    """
    models = agent.model.of_role(role)
    candidates = tuple(_whole(declared, providers) for declared in models.candidates)
    own = role if role in agent.model.roles else DEFAULT_ROLE
    return Pool(candidates, models.strategy or "", f"{ref.namespace}/{ref.name}", agent.budget, own)


def pool_of_provider(provider: NamedProvider) -> Pool:
    """A Provider alone, asked for its first model."""
    declared = DeclaredCandidate.model_validate({"provider_ref": "provider"})
    return Pool((_candidate(target_of(declared, provider.spec), provider),))


@dataclass(frozen=True)
class NamedProvider:
    """A Provider resource: `namespace/name` and what it says."""

    name: str
    spec: ProviderSpec


def _whole(declared: DeclaredCandidate, providers: Mapping[str, NamedProvider]) -> Candidate:
    provider = providers[declared.provider_ref] if declared.provider_ref else None
    return _candidate(target_of(declared, provider.spec if provider else None), provider)


def _candidate(target: Target, provider: NamedProvider | None) -> Candidate:
    traits, calls = target.traits, target.calls
    return Candidate(
        provider=target.provider,
        dialect=target.dialect,
        model=target.model,
        endpoint=target.endpoint,
        parameters=target.parameters,
        key=target.api_key,
        api_version=target.api_version,
        patience=_patience(calls),
        max_retries=Candidate.max_retries if calls.max_retries is None else calls.max_retries,
        prices=_prices(traits),
        priced=target.priced,
        quality_score=traits.quality_score,
        context_window=traits.context_window,
        tools=traits.capabilities.tools,
        vision=traits.capabilities.vision,
        structured_output=traits.capabilities.structured_output,
        breaker=target.circuit_breaker,
        health_path=(health.path or "") if provider and (health := provider.spec.health_check) else "",
        resource=provider.name if provider else "",
    )


def _patience(calls: CallSettings) -> Patience:
    return Patience(
        calls.timeout_seconds or Patience.whole,
        calls.first_token_timeout_seconds or Patience.first_token,
        calls.between_tokens_timeout_seconds or Patience.between_tokens,
    )


def _prices(traits: ModelTraits) -> Prices:
    alike = traits.cost_per_1k_tokens or 0.0
    given = (traits.input_cost_per_1k_tokens, traits.output_cost_per_1k_tokens)
    asked, answered = (alike if price is None else price for price in given)
    return Prices(asked, answered, traits.cached_input_cost_per_1k_tokens, traits.cache_write_cost_per_1k_tokens)
