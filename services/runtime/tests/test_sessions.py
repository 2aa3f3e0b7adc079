"""Queues: one at a time per session, in order, fair between namespaces."""

from hypothesis import given
from hypothesis import strategies as st

from astromesh_runtime.sessions import SessionQueues


def test_a_session_gives_out_one_item_at_a_time_in_order() -> None:
    queues = SessionQueues[str](limit=10)
    for item in ("first", "second", "third"):
        queues.push("ns", "s", item)
    seen = list[str]()
    while (item := queues.next()) is not None:
        assert queues.next() is None
        seen.append(item)
        queues.done("ns", "s")
    assert seen == ["first", "second", "third"]


def test_a_busy_namespace_does_not_starve_another() -> None:
    queues = SessionQueues[str](limit=100)
    for number in range(50):
        queues.push("loud", f"s{number}", f"loud {number}")
    queues.push("quiet", "s", "quiet")
    assert "quiet" in [queues.next(), queues.next()]


def test_a_parked_item_keeps_its_session_and_frees_its_place() -> None:
    queues = SessionQueues[str](limit=1)
    queues.push("ns", "a", "waits")
    queues.push("ns", "a", "behind")
    queues.push("ns", "b", "other")
    assert queues.next() == "waits"
    queues.park()
    assert queues.next() == "other"
    queues.done("ns", "b")
    assert queues.next() is None
    queues.unpark()
    queues.done("ns", "a")
    assert queues.next() == "behind"


def test_a_queued_item_can_be_taken_out_and_the_head_at_work_cannot() -> None:
    queues = SessionQueues[str](limit=5)
    queues.push("ns", "a", "head")
    queues.push("ns", "a", "behind")
    queues.next()
    assert not queues.remove("ns", "a", "head")
    assert queues.remove("ns", "a", "behind")
    queues.done("ns", "a")
    assert queues.waiting() == 0
    queues.push("ns", "b", "alone")
    assert queues.remove("ns", "b", "alone")
    assert queues.next() is None


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("abc")), max_size=40), st.integers(1, 4))
def test_everything_comes_out_once_and_in_its_sessions_order(pushes: list[tuple[str, str]], limit: int) -> None:
    queues = SessionQueues[tuple[str, str, int]](limit=limit)
    for number, (namespace, session) in enumerate(pushes):
        queues.push(namespace, session, (namespace, session, number))
    finished = list[tuple[str, str, int]]()
    out = list[tuple[str, str, int]]()
    while True:
        while (item := queues.next()) is not None:
            out.append(item)
        assert len(out) <= limit
        assert len({item[:2] for item in out}) == len(out)
        if not out:
            break
        item = out.pop()
        finished.append(item)
        queues.done(item[0], item[1])
    assert sorted(finished, key=lambda item: item[2]) == [(*push, number) for number, push in enumerate(pushes)]
    for push in set(pushes):
        numbers = [item[2] for item in finished if item[:2] == push]
        assert numbers == sorted(numbers)
