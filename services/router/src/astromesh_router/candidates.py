"""The models that a call may go to, in order, out of an agent's declaration. Nothing is sent from here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.candidates import Candidate as DeclaredCandidate
from astromesh_core.resources.candidates import Target, target_of
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.secrets import SecretKeyRef

WRITTEN_BY_ROUTER = frozenset({"messages", "model", "stream", "tools"})
"""Fields of a request that `parameters` may not set."""

ADVICE = {
    "ollama": "start it with `ollama serve`, or set endpoint to where it runs",
    "llamacpp": "start llama-server, or set endpoint to where it runs",
    "vllm": "start vLLM, or set endpoint to where it runs",
}
"""What to do when a provider cannot be reached."""


@dataclass(frozen=True)
class Candidate:
    """A model to ask: where, in which dialect, how. The key is a reference until a request is sent."""

    provider: str
    dialect: str
    model: str
    endpoint: str = ""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    key: str | SecretKeyRef | None = None
    timeout_seconds: float = 120.0
    cost_per_1k_tokens: float = 0.0
    """In US dollars, input and output alike."""

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


def references(agent: AgentSpec) -> list[str]:
    """The Provider resources that an agent's candidates refer to."""
    return [declared.provider_ref for declared in agent.model.candidates if declared.provider_ref]


def candidates_of(agent: AgentSpec, providers: Mapping[str, ProviderSpec]) -> tuple[Candidate, ...]:
    """An agent's candidates in the order in which they are asked: the primary, then each fallback.

    `providers` holds what each of `references` names. Raises InvalidInput for parameters that the router writes itself.
    """
    return tuple(_whole(declared, providers) for declared in agent.model.candidates)


def candidate_of_provider(provider: ProviderSpec) -> Candidate:
    """A candidate for a provider alone, asked for its first model."""
    return _candidate(target_of(DeclaredCandidate.model_validate({"provider_ref": "provider"}), provider))


def _whole(declared: DeclaredCandidate, providers: Mapping[str, ProviderSpec]) -> Candidate:
    provider = providers[declared.provider_ref] if declared.provider_ref else None
    return _candidate(target_of(declared, provider))


def _candidate(target: Target) -> Candidate:
    _check_parameters(target.model, target.parameters)
    return Candidate(
        provider=target.provider,
        dialect=target.dialect,
        model=target.model,
        endpoint=target.endpoint,
        parameters=target.parameters,
        key=target.api_key,
        timeout_seconds=target.timeout_seconds,
        cost_per_1k_tokens=(target.offer.cost_per_1k_tokens if target.offer else None) or 0.0,
    )


def _check_parameters(model: str, names: Iterable[str]) -> None:
    taken = sorted(WRITTEN_BY_ROUTER.intersection(names))
    if taken:
        raise InvalidInput(f"model {model}: parameters.{taken[0]} cannot be set, the router writes it; remove it")
