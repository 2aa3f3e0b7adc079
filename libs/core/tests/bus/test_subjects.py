"""Subjects and positions: built in one place, checked, and read back."""

import pytest

from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import (
    Aggregate,
    aggregate_of_subject,
    delta_subject,
    observation_subject,
    run_aggregate,
    session_aggregate,
    signal_subject,
    timer_subject,
)
from astromesh_core.errors import InvalidInput

RUN = "07-" + "a2" * 13
SESSION = "b3" * 13


def test_a_run_has_its_subjects() -> None:
    run = run_aggregate("acme", RUN)
    assert run.requested == f"mesh.acme.run.07.{RUN}.requested"
    assert run.log == f"mesh.acme.run.07.{RUN}.log"
    assert run.filter == f"mesh.acme.run.07.{RUN}.>"
    assert run.live == f"live.mesh.acme.run.07.{RUN}.>"
    assert signal_subject("acme", RUN) == f"mesh.acme.signal.07.{RUN}"
    assert timer_subject("acme", RUN, "3.1") == f"mesh.acme.timer.07.{RUN}.3.1"
    assert delta_subject("acme", 7, RUN) == f"delta.acme.07.{RUN}"


def test_a_session_has_its_subjects() -> None:
    session = session_aggregate("acme", SESSION)
    assert session.log == f"mesh.acme.session.{session.partition:02d}.{SESSION}.log"
    assert signal_subject("acme", SESSION) == f"mesh.acme.signal.{session.partition:02d}.{SESSION}"


@pytest.mark.parametrize("aggregate", [run_aggregate("acme", RUN), session_aggregate("acme", SESSION)])
def test_a_subject_tells_its_aggregate(aggregate: Aggregate) -> None:
    assert aggregate_of_subject(aggregate.log) == aggregate
    assert aggregate_of_subject(f"live.{aggregate.log}") == aggregate
    assert aggregate_of_subject(signal_subject("acme", aggregate.id)) == aggregate


@pytest.mark.parametrize("namespace", ["", "a.b", "*", ">", "Acme", "a" * 64, "a b", "-a"])
def test_a_namespace_that_is_no_label_reaches_no_subject(namespace: str) -> None:
    with pytest.raises(InvalidInput):
        run_aggregate(namespace, RUN)
    with pytest.raises(InvalidInput):
        session_aggregate(namespace, SESSION)


@pytest.mark.parametrize("name", ["", "*", "07-*", "64-" + "a2" * 13, "07-" + "A2" * 13, RUN + ".log", "x\r\nPUB y"])
def test_an_id_that_is_none_reaches_no_subject(name: str) -> None:
    with pytest.raises(InvalidInput):
        run_aggregate("acme", name)
    with pytest.raises(InvalidInput):
        session_aggregate("acme", name)
    with pytest.raises(InvalidInput):
        signal_subject("acme", name)
    with pytest.raises(InvalidInput):
        observation_subject(name + "*", "Agent.default.docs")


@pytest.mark.parametrize("path", ["", "a", "1.", ".1", "1..2", "*"])
def test_a_path_that_is_none_reaches_no_subject(path: str) -> None:
    with pytest.raises(InvalidInput):
        timer_subject("acme", RUN, path)


@pytest.mark.parametrize("subject", ["mesh.acme", "other.acme.run.07.x.log", "", "delta.acme.07.x.y"])
def test_other_subjects_name_no_aggregate(subject: str) -> None:
    with pytest.raises(InvalidInput):
        aggregate_of_subject(subject)


def test_a_position_survives_storage_and_is_ordered() -> None:
    assert Position.decode(Position(7).encode()) == Position(7)
    assert Position.START < Position(1) <= Position(1) < Position(300)
    assert len({Position(1), Position(1), Position(2)}) == 2
    for damaged in (b"", b"x", Position(7).encode() + b"x", b"\2" + Position(7).encode()[1:]):
        with pytest.raises(InvalidInput):
            Position.decode(damaged)
