"""Lines and events come out the same however the bytes were cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_router.dialects import lines
from astromesh_router.dialects.lines import EventReader, LineReader, LineTooLong

STREAM = (
    b': a comment\r\nevent: x\r\ndata: {"a": 1}\r\n\r\n'
    b"data: first\ndata:second\n\nid: 3\n\ndata: \xc3\xa9\n\ndata: last"
)
EVENTS = [b'{"a": 1}', b"first\nsecond", "é".encode(), b"last"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_do_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(STREAM)]
    reader = EventReader()
    events = [event for a, b in pairwise(bounds) for event in reader.feed(STREAM[a:b])]
    assert [*events, *reader.finish()] == EVENTS


def test_a_last_line_without_its_end_is_a_line() -> None:
    reader = LineReader()
    assert reader.feed(b"one\ntwo") == [b"one"]
    assert reader.finish() == [b"two"]
    assert reader.finish() == []


def test_a_line_without_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 10)
    reader = LineReader()
    reader.feed(b"0123456789")
    with pytest.raises(LineTooLong):
        reader.feed(b"0")
