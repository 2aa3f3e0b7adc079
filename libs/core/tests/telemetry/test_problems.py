"""Errors as HTTP tells them."""

from astromesh_core.errors import ERRORS, Conflict, NotFound, RateLimited
from astromesh_core.problems import http_status, problem, retry_after_header
from astromesh_core.rpc.failures import STATUS


def test_every_class_has_a_status_in_both_tables() -> None:
    assert set(STATUS) == set(ERRORS.values())
    for kind in ERRORS.values():
        assert 400 <= http_status(kind("x")) < 600


def test_a_problem_document_says_what_where_and_when_to_try_again() -> None:
    error = RateLimited("The queue of namespace default is full.", retry_after=1.2)
    assert problem(error, "/v1/agents/a/run", "07-x") == {
        "type": "https://astromesh.io/problems/rate-limited",
        "title": "Too many requests",
        "status": 429,
        "detail": "The queue of namespace default is full.",
        "instance": "/v1/agents/a/run",
        "run_id": "07-x",
        "retry_after": 1.2,
    }
    assert retry_after_header(error) == "2"
    assert retry_after_header(NotFound("x")) is None


def test_a_services_own_subclass_is_told_as_what_it_is_a_kind_of() -> None:
    class AppendConflict(Conflict):
        """Of the bus."""

    assert problem(AppendConflict("x"))["type"].endswith("/conflict")
    assert http_status(AppendConflict("x")) == 409
