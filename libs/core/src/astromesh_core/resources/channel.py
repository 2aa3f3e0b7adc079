"""The Channel: a messaging platform that talks to an agent. Also reads the entries of a channels.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from astromesh_core.resources.references import Reference
from astromesh_core.resources.secrets import Secret
from astromesh_core.resources.spelling import Spec, is_mapping, shaped

_SHORT_FORM = {
    "verify_token": "webhook",
    "app_secret": "credentials",
    "access_token": "credentials",
    "phone_number_id": "credentials",
    "bot_token": "credentials",
    "signing_secret": "credentials",
}


class Webhook(Spec):
    """Where the platform delivers, and the token by which it is known."""

    path: Annotated[str, shaped(r"/\S*", "a path", "/v1/channels/whatsapp/webhook")] | None = None
    verify_token: Secret | None = None


class Credentials(Spec):
    """What the platform gave; references only."""

    app_secret: Secret | None = None
    access_token: Secret | None = None
    phone_number_id: Secret | None = None
    bot_token: Secret | None = None
    signing_secret: Secret | None = None


class RateLimiting(Spec):
    """How much one sender may write."""

    max_requests_per_second: int | None = Field(default=None, ge=1)
    max_requests_per_minute: int | None = Field(default=None, ge=1)


class RateLimit(Spec):
    """The rate limit of a channels.yaml: so many messages in a window."""

    window_seconds: int = Field(default=60, ge=1)
    max_messages: int = Field(default=30, ge=1)


class ChannelSpec(Spec):
    """A channel as it was declared."""

    type: Literal["whatsapp", "slack", "telegram", "webhook"]
    default_agent: Reference | None = None
    webhook: Webhook = Webhook()
    credentials: Credentials = Credentials()
    rate_limiting: RateLimiting | None = None
    rate_limit: RateLimit | None = None

    @model_validator(mode="before")
    @classmethod
    def _unfold_short_form(cls, value: object) -> object:
        """Puts the flat secrets of a channels.yaml where the Channel has them."""
        if not is_mapping(value) or not value.keys() & _SHORT_FORM.keys():
            return value
        unfolded = {key: inner for key, inner in value.items() if key not in _SHORT_FORM}
        for key in value.keys() & _SHORT_FORM.keys():
            part = unfolded.get(_SHORT_FORM[key], {})
            if is_mapping(part):
                unfolded[_SHORT_FORM[key]] = {**part, key: value[key]}
        return unfolded
