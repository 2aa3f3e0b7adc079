"""Pages of several processes become one that a scraper reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from astromesh_core.telemetry.metrics import Metrics, processes_page
from astromesh_core.telemetry.pages import joined


def page(service: str, metrics: Metrics) -> str:
    return metrics.exposition(service)[0].decode()


def families(text: str) -> dict[str, Metric]:
    """By name; each must stand once."""
    read = list(text_string_to_metric_families(text))
    names = [family.name for family in read]
    assert len(names) == len(set(names)), names
    return {family.name: family for family in read}


def test_a_family_of_several_processes_is_opened_once_and_has_the_samples_of_all() -> None:
    router, runtime = Metrics(), Metrics()
    router.runs_open.set(1)
    runtime.runs_open.set(2)
    text = joined((page("router", router), page("runtime", runtime)))
    assert text.count("# HELP astromesh_runs_open ") == text.count("# TYPE astromesh_runs_open ") == 1
    assert {sample.labels["service"]: sample.value for sample in families(text)["astromesh_runs_open"].samples} == {
        "router": 1,
        "runtime": 2,
    }


def test_nothing_of_a_page_is_lost() -> None:
    router, runtime = Metrics(), Metrics()
    router.model_seconds.labels("ollama", "m").observe(0.2)
    runtime.runs_finished.labels("desk", "completed").inc(3)
    pages = [page("router", router), page("runtime", runtime)]
    joint = families(joined(pages))
    for text in pages:
        for name, family in families(text).items():
            assert (joint[name].type, joint[name].documentation) == (family.type, family.documentation)
            assert [sample for sample in joint[name].samples if sample in family.samples] == family.samples


def test_a_family_that_only_a_later_process_has_is_there() -> None:
    registry = CollectorRegistry()
    Gauge("only_here", "Of one process.", registry=registry).set(4)
    text = joined((page("router", Metrics()), generate_latest(registry).decode()))
    assert families(text)["only_here"].samples[0].value == 4


def test_a_name_and_a_help_text_that_look_like_an_opening_open_nothing() -> None:
    odd = 'x\n# HELP astromesh_runs_open "}\n# TYPE astromesh_runs_open gauge\n'
    registry = CollectorRegistry()
    Gauge("odd", odd, ["name"], registry=registry).labels(odd).set(7)
    sound = generate_latest(registry).decode()
    (sample,) = families(joined((sound, page("router", Metrics()))))["odd"].samples
    assert (sample.labels, sample.value) == ({"name": odd}, 7)
    assert joined((sound,)) == sound


def test_no_page_is_an_empty_one() -> None:
    assert not joined(())
    assert joined(("", page("router", Metrics()))) == page("router", Metrics())


def test_a_page_without_a_service_is_as_it_was() -> None:
    metrics = Metrics()
    metrics.runs_open.inc()
    assert b"service=" not in metrics.exposition()[0]
    assert b'astromesh_runs_open{service="router"} 1.0' in metrics.exposition("router")[0]


def test_who_did_not_answer_is_told() -> None:
    lines = processes_page({"router": True, "rag": False}).splitlines()
    assert lines[2:] == ['astromesh_process_up{service="rag"} 0.0', 'astromesh_process_up{service="router"} 1.0']
