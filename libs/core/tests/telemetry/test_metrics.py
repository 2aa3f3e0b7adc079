"""Metrics: few labels, whatever users name their things."""

from astromesh_core.telemetry.metrics import OTHER, BoundedLabel, Metrics


def test_names_beyond_the_limit_count_as_other() -> None:
    label = BoundedLabel(2)
    assert [label(name) for name in ("a", "b", "c", "a", "")] == ["a", "b", OTHER, "a", "none"]


def test_a_thousand_agents_make_no_thousand_series() -> None:
    metrics = Metrics(names_limit=10)
    for number in range(1000):
        metrics.runs_finished.labels(metrics.agent(f"agent-{number}"), "completed").inc()
    page, kind = metrics.exposition()
    lines = [line for line in page.decode().splitlines() if line.startswith("astromesh_runs_finished_total{")]
    assert len(lines) == 11
    assert 'astromesh_runs_finished_total{agent="other",status="completed"} 990.0' in lines
    assert kind.startswith("text/plain")


def test_two_processes_of_one_test_do_not_share_a_registry() -> None:
    first, second = Metrics(), Metrics()
    first.runs_open.inc()
    assert b"astromesh_runs_open 0.0" in second.exposition()[0]


def test_the_page_does_not_say_when_each_series_began() -> None:
    metrics = Metrics()
    metrics.runs_finished.labels("agent", "completed").inc()
    metrics.run_seconds.labels("agent").observe(1)
    assert b"_created" not in metrics.exposition()[0]
