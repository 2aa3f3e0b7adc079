"""What is declared of a model (what it can do, how good it is, what it costs) and of calls to it. Choosing is the
router's."""

from __future__ import annotations

from pydantic import Field

from astromesh_core.resources.spelling import Spec, spelled


class Capabilities(Spec):
    """What a model can do. None: nobody said; pictures are then kept from it, tools and schemas are not."""

    tools: bool | None = None
    vision: bool | None = None
    structured_output: bool | None = None


class ModelTraits(Spec):
    """What is known of a model beside its name. Prices are in US dollars."""

    capabilities: Capabilities = Capabilities()
    quality_score: float | None = Field(default=None, ge=0, le=1)
    context_window: int | None = Field(default=None, gt=0)
    """In tokens, prompt and reply together."""
    cost_per_1k_tokens: float | None = Field(default=None, ge=0)
    """Input and output alike, where no price of its own is given."""
    input_cost_per_1k_tokens: float | None = Field(default=None, ge=0)
    output_cost_per_1k_tokens: float | None = Field(default=None, ge=0)
    cached_input_cost_per_1k_tokens: float | None = Field(default=None, ge=0)
    """Of input that the vendor found in its cache. None: what any input costs."""
    cache_write_cost_per_1k_tokens: float | None = Field(default=None, ge=0)
    """Of input that the vendor put into its cache, where it bills that apart. None: what any input costs."""


class CallSettings(Spec):
    """How long a call may take and how often it is tried. None: the outer level's, in the end the router's own."""

    timeout_seconds: float | None = Field(default=None, gt=0, validation_alias=spelled("timeout_seconds", "timeout"))
    """The whole call."""
    first_token_timeout_seconds: float | None = Field(default=None, gt=0)
    between_tokens_timeout_seconds: float | None = Field(default=None, gt=0)
    max_retries: int | None = Field(default=None, ge=0, le=10)
    """Further attempts at the same candidate before the next one is asked."""
