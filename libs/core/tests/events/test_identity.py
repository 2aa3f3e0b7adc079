"""Names of sessions and runs: stable, unguessable, and in the right partition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.errors import InvalidInput
from astromesh_core.events.identity import (
    PARTITIONS,
    MeshKey,
    check_namespace,
    owner_key,
    partition_of,
    partition_of_run,
    random_run_id,
    run_id,
    session_key,
    user_key,
)

KEY = MeshKey(b"k" * 32)


@given(st.text(), st.text(), st.text())
def test_a_run_lies_in_its_sessions_partition(namespace: str, agent: str, session: str) -> None:
    key = session_key(KEY, namespace, agent, session)
    assert 0 <= partition_of(key) < PARTITIONS
    assert partition_of_run(random_run_id(key)) == partition_of(key)
    assert partition_of_run(run_id(KEY, key, "caller", "once")) == partition_of(key)


def test_every_part_of_the_identity_counts_and_parts_do_not_run_together() -> None:
    base = session_key(KEY, "ns", "agent", "session")
    assert session_key(KEY, "ns", "agents", "ession") != base
    assert session_key(KEY, "n", "sagent", "session") != base
    assert session_key(MeshKey(b"other"), "ns", "agent", "session") != base
    assert run_id(KEY, base, "one", "key") != run_id(KEY, base, "two", "key")
    assert run_id(KEY, base, "one", "key") == run_id(KEY, base, "one", "key")


def test_partitions_are_used_evenly() -> None:
    counts = [0] * PARTITIONS
    for number in range(6400):
        counts[partition_of(session_key(KEY, "ns", "agent", str(number)))] += 1
    assert min(counts) > 50
    assert max(counts) < 160


@pytest.mark.parametrize("bad", ["", "run", "64-" + "a" * 26, "7-" + "a" * 26, "07-" + "a" * 25, "07-" + "A" * 26])
def test_what_is_no_run_id_is_refused(bad: str) -> None:
    with pytest.raises(InvalidInput, match="not a run id"):
        partition_of_run(bad)


@pytest.mark.parametrize("bad", ["", "-a", "a-", "A", "a.b", "a" * 64, "*", ">"])
def test_a_namespace_is_a_dns_label(bad: str) -> None:
    with pytest.raises(InvalidInput, match="DNS label"):
        check_namespace(bad)


def test_nobody_reaches_anothers_memories_by_a_clever_name() -> None:
    owners = {
        owner_key(KEY, *names)
        for names in [
            ("ns", "desk", "app", "ada"),
            ("ns", "desk", "other-app", "ada"),
            ("ns", "desk", "appada", ""),
            ("ns", "desk", "app", "Ada"),
            ("ns", "desk", "app", "ada\0"),
            ("ns", "deskapp", "", "ada"),
            ("n", "sdesk", "app", "ada"),
        ]
    }
    assert len(owners) == 7
    assert user_key(KEY, "ns", "ada") != user_key(KEY, "n", "sada")
    assert user_key(KEY, "ns", "ada") not in owners
