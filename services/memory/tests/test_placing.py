"""Where an agent's conversations lie, by what it declares and by what the environment says."""

from __future__ import annotations

import pytest

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.agent_memory import ConversationalMemory
from astromesh_memory.placing import address_of, target_of


def declared(text: str) -> ConversationalMemory:
    return ConversationalMemory.from_json(text)


def test_a_connection_is_declared_with_references_and_resolved_when_it_is_used() -> None:
    target = target_of(declared('{"backend": "postgres", "connection": {"url": "${CONVERSATIONS}"}}'))
    assert "s3cret" not in repr(target)
    address = address_of(target, {"CONVERSATIONS": "postgresql://app:s3cret@db/talk"})
    assert (address.text, address.shown) == ("postgresql://app:s3cret@db/talk", "postgresql://db/talk")


@pytest.mark.parametrize(
    ("backend", "environ", "shown"),
    [("postgres", {"PGHOST": "db"}, "db/"), ("redis", {"REDIS_URL": "redis://cache/1"}, "redis://cache/1")],
)
def test_without_a_connection_the_environment_says_where(backend: str, environ: dict[str, str], shown: str) -> None:
    target = target_of(declared(f'{{"backend": "{backend}"}}'))
    assert address_of(target, environ).shown == shown
    with pytest.raises(InvalidInput, match="write connection"):
        address_of(target, {})
