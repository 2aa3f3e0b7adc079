"""The ledger comes out the same however the log is cut, and wherever a part of it is read again."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from astromesh_core.bus.positions import Position
from astromesh_memory.runs.changes import KINDS, Forgotten, Opened, Rated
from astromesh_memory.runs.ledger import KeptAt, Ledger, LedgerChange, RunRow

NS, AGENT = "ns", "desk"


def ended(run: int, place: int, session: str = "s", user: str = "") -> RunRow:
    return RunRow(f"run-{run}", NS, AGENT, session, user, user, Position(place).encode(), place, 4, 1, 1, 0)


def rows(ledger: Ledger) -> list[RunRow]:
    return ledger.rows(NS, AGENT)


@st.composite
def logs(draw: st.DrawFn) -> list[LedgerChange]:
    """What a log may tell: runs end once, what is said of them comes later, and sessions are forgotten in between."""
    changes, done = list[LedgerChange](), list[int]()
    for place in range(1, draw(st.integers(1, 14))):
        kind = draw(st.sampled_from(["end", "end", "rate", "clear", "erase", "expire"]))
        session, user = draw(st.sampled_from("st")), draw(st.sampled_from(["", "ada", "bob"]))
        position = Position(place).encode()
        if kind == "end":
            done.append(place)
            changes += [ended(place, place, session, user)]
        elif kind == "rate" and done:
            changes.append(Rated(f"run-{draw(st.sampled_from(done))}", place))
        elif kind == "expire":
            until, of = draw(st.integers(1, place)), draw(st.sampled_from(KINDS))
            changes.append(Forgotten(NS, session, position, until_unix_nano=until, kinds=(of,)))
        elif kind in ("clear", "erase"):
            changes.append(Forgotten(NS, session, position, user_key=user if kind == "erase" else ""))
    return changes


@settings(max_examples=150, deadline=None)
@given(logs(), st.data())
def test_any_cut_and_any_second_reading_of_the_end_lead_to_the_same(
    changes: list[LedgerChange], data: st.DataObject
) -> None:
    whole, cut = Ledger(None), Ledger(None)
    end = Position(len(changes))
    whole.apply(changes, end)
    expected = rows(whole)
    first = data.draw(st.integers(0, len(changes)))
    cut.apply(changes[:first], Position(first))
    cut.apply(changes[first:], end)
    assert rows(cut) == expected
    again = data.draw(st.integers(0, len(changes)))
    whole.apply(changes[again:], end)
    assert rows(whole) == expected
    assert whole.position() == end


def test_what_is_forgotten_is_forgotten_by_the_kinds_and_the_person_named() -> None:
    ledger = Ledger(None)
    ledger.apply([ended(1, 1, user="ada"), ended(2, 2, user="bob"), ended(3, 3, "t", "ada")], Position(3))
    touched = ledger.apply([Forgotten(NS, "s", Position(4).encode(), user_key="ada")], Position(4))
    assert [one.run_id for one in touched] == ["run-1"]
    assert [row.run_id for row in rows(ledger)] == ["run-2", "run-3"]
    ledger.apply([Forgotten(NS, "s", Position(5).encode(), until_unix_nano=2, kinds=("semantic",))], Position(5))
    assert [(row.semantic, row.episodic) for row in rows(ledger)] == [(0, 1), (1, 1)]
    assert [row.run_id for row in ledger.of_user(NS, "bob")] == ["run-2"]
    assert [row.run_id for row in ledger.of_session(NS, "t")] == ["run-3"]
    assert ledger.any(NS, AGENT, "episodic", "bob", "s")
    assert not ledger.any(NS, AGENT, "semantic", "bob", "s")
    assert not ledger.any(NS, AGENT, "episodic", "bob", "t")
    assert not ledger.any(NS, AGENT, "episodic", "", None)
    assert ledger.any(NS, AGENT, "semantic", None, None)
    assert sorted(ledger.those(["run-2", "run-1", "nothing"])) == ["run-2"]


def test_it_opens_where_it_was_closed_and_another_version_is_emptied(tmp_path: Path) -> None:
    path, place = tmp_path / "m" / "ledger.sqlite", KeptAt(NS, AGENT, "semantic", "{}", 1)
    ledger = Ledger(path)
    ledger.apply([Opened("run-9"), ended(1, 1)], Position(7))
    ledger.note_place(place)
    ledger.close()
    ledger = Ledger(path)
    assert (ledger.position(), ledger.open_runs(), len(rows(ledger))) == (Position(7), {"run-9"}, 1)
    assert ledger.places() == {place}
    ledger.leave_place(place)
    assert ledger.places() == set()
    ledger.apply([ended(9, 8)], Position(8))
    assert ledger.open_runs() == set()
    ledger.drop()
    assert (ledger.position(), rows(ledger)) == (Position.START, [])
    ledger.close()
