"""How long a worker may believe that it is alive."""

from astromesh_core.bus.lease import MARGIN_SECONDS, Lease, clock


def test_it_counts_from_when_the_heartbeat_was_sent_and_ends_before_others_can_see_the_key_gone() -> None:
    lease = Lease(3.0)
    assert not lease.valid(0.0)
    lease.renew(sent=10.0)
    assert lease.valid(10.0 + 3.0 - MARGIN_SECONDS - 0.001)
    assert not lease.valid(10.0 + 3.0 - MARGIN_SECONDS)


def test_a_heartbeat_acknowledged_after_the_end_does_not_continue_the_lease() -> None:
    lease = Lease(3.0)
    lease.renew(sent=0.0)
    assert lease.unbroken(acknowledged=2.4)
    assert not lease.unbroken(acknowledged=2.5)


def test_an_answer_that_was_late_does_not_shorten_the_lease() -> None:
    lease = Lease(3.0)
    lease.renew(sent=5.0)
    lease.renew(sent=4.0)
    assert lease.valid(7.4)


def test_it_ends_at_once_when_told() -> None:
    lease = Lease(3.0)
    lease.renew(sent=0.0)
    lease.end()
    assert not lease.valid(0.1)


def test_the_clock_never_runs_backwards() -> None:
    assert clock() <= clock()
