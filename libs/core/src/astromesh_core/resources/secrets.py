"""References to secrets, and the one place where a reference becomes its value. Values never stand in a resource."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BeforeValidator, JsonValue
from pydantic_core import PydanticCustomError

from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.resources.spelling import Spec, snake

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SECRET_NAMES = frozenset(
    (
        "access_token",
        "api_key",
        "apikey",
        "app_secret",
        "authorization",
        "bot_token",
        "client_secret",
        "password",
        "private_key",
        "secret",
        "signing_secret",
        "token",
        "verify_token",
        "x_api_key",
    )
)
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s:]*:(?!\$\{)[^/@\s]+@", re.IGNORECASE)
_PASSWORD_IN_DSN = re.compile(r"\bpassword\s*=\s*(?!'?\$\{)\S", re.IGNORECASE)
SECRET_HINT = "keep the value in the environment and write '${NAME}'"


class KeyOfSecret(Spec):
    """One key of a Kubernetes Secret in the resource's namespace."""

    name: str
    key: str


class SecretKeyRef(Spec):
    """A secret held by Kubernetes."""

    secret_key_ref: KeyOfSecret


def _reference(value: object) -> object:
    if isinstance(value, str):
        found = _VARIABLE.fullmatch(value)
        if not found:
            raise PydanticCustomError(
                "secret", "is a secret's value; a resource holds only references", {"hint": SECRET_HINT}
            )
        if found[2]:
            raise PydanticCustomError("secret", "gives a secret a default value", {"hint": f"write '${{{found[1]}}}'"})
        return value
    if isinstance(value, SecretKeyRef):
        return value
    if isinstance(value, dict):
        return SecretKeyRef.model_validate(value)
    raise PydanticCustomError("secret", "must be '${NAME}' or secretKeyRef", {"hint": SECRET_HINT})


Secret = Annotated[str | SecretKeyRef, BeforeValidator(_reference)]
"""A reference to a secret: `${NAME}` of the environment, or `secretKeyRef` of Kubernetes."""


def check_variable_name(text: str) -> str:
    """Lets the name of an environment variable through (`api_key_env`)."""
    if _VARIABLE.fullmatch(f"${{{text}}}"):
        return text
    raise PydanticCustomError("variable", "must be the name of an environment variable", {"hint": "such as LLM_KEY"})


def resolve(reference: str | SecretKeyRef, environ: Mapping[str, str]) -> str:
    """Puts the environment's values in place of each `${NAME}` and `${NAME:-default}`.

    The result may be a secret: use it, never store, log or print it. Raises InvalidInput naming a variable that is
    unset and has no default, NotSupported for a Kubernetes secret (mounted as a variable by the chart).
    """
    if isinstance(reference, SecretKeyRef):
        named = reference.secret_key_ref
        raise NotSupported(f"secretKeyRef {named.name}/{named.key} can only be read by the Kubernetes operator")

    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        known = environ.get(name) or default
        if known is None:
            raise InvalidInput(f"environment variable {name} is not set")
        return known

    return _VARIABLE.sub(value, reference)


def resolved_values(text: str, environ: Mapping[str, str]) -> list[str]:
    """What the environment holds for the variables of a text: each may be a secret. Defaults are none."""
    return [known for found in _VARIABLE.finditer(text) if (known := environ.get(found[1]))]


def variables(text: str) -> list[str]:
    """Lists the environment variables that a text refers to and that have no default."""
    return [found[1] for found in _VARIABLE.finditer(text) if found[2] is None]


def exposed_secrets(value: JsonValue, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Finds where a document holds a secret's value instead of a reference: by the field's name, or in a URL."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from exposed_secrets(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from exposed_secrets(inner, (*path, index))
    elif isinstance(value, str) and _is_exposed(value, path):
        yield path


def _is_exposed(text: str, path: tuple[str | int, ...]) -> bool:
    # A budget's `api_key` is the name of a key.
    named_secret = bool(path) and path[0] != "budgets" and snake(str(path[-1]).replace("-", "_")) in _SECRET_NAMES
    in_dsn = bool(path) and path[-1] in ("dsn", "url") and _PASSWORD_IN_DSN.search(text)
    return (named_secret and not _VARIABLE.search(text)) or bool(in_dsn or _PASSWORD_IN_URL.search(text))
