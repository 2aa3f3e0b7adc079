"""Every Prometheus metric of the mesh, declared once, each with labels whose values are few. Nothing is measured
here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

OTHER = "other"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKENS = (1, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)


class BoundedLabel:
    """Lets the first `limit` values through and calls the rest "other": whoever names things cannot exhaust memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """The label's value to record. An empty one becomes "none"."""
        if value in self._seen:
            return value
        if not value:
            return "none"
        if len(self._seen) >= self._limit:
            return OTHER
        self._seen.add(value)
        return value


class Metrics:
    """The metrics of one process. Names from users (agents, models, tools, namespaces) pass their `BoundedLabel` first:

    `metrics.runs_finished.labels(metrics.agent(name), "completed").inc()`.
    """

    def __init__(self, *, names_limit: int = 200) -> None:
        # When a series began, which no dashboard asks, would be a third of the page.
        disable_created_metrics()
        self.registry = registry = CollectorRegistry(auto_describe=True)
        self.agent = BoundedLabel(names_limit)
        self.namespace = BoundedLabel(names_limit)
        self.model = BoundedLabel(names_limit)
        self.provider = BoundedLabel(names_limit)
        self.endpoint = BoundedLabel(names_limit)
        self.tool = BoundedLabel(names_limit)
        self.pipeline = BoundedLabel(names_limit)
        self._declare_runs(registry)
        self._declare_effects(registry)
        self._declare_log(registry)
        self._declare_edges(registry)

    def exposition(self, service: str = "") -> tuple[bytes, str]:
        """The page that Prometheus scrapes, and its content type. With `service`, each sample has it as a label."""
        source: Collector = _Labelled(self.registry, service) if service else self.registry
        return generate_latest(source), CONTENT_TYPE_LATEST

    def _declare_runs(self, registry: CollectorRegistry) -> None:
        self.runs_admitted = Counter(
            "astromesh_runs_admitted", "Runs whose request was stored.", ["agent"], registry=registry
        )
        self.runs_refused = Counter(
            "astromesh_runs_refused", "Requests refused because a queue is full.", ["namespace"], registry=registry
        )
        self.runs_finished = Counter(
            "astromesh_runs_finished", "Runs that ended, by status.", ["agent", "status"], registry=registry
        )
        self.run_seconds = Histogram(
            "astromesh_run_seconds", "From request to end.", ["agent"], buckets=_SECONDS, registry=registry
        )
        self.runs_open = Gauge("astromesh_runs_open", "Runs in progress in this process.", registry=registry)
        self.runs_queued = Gauge("astromesh_runs_queued", "Runs that wait for their session.", registry=registry)
        self.runs_suspended = Counter(
            "astromesh_runs_suspended", "Suspensions, by what a run waits for.", ["reason"], registry=registry
        )

    def _declare_effects(self, registry: CollectorRegistry) -> None:
        self.model_calls = Counter(
            "astromesh_model_calls",
            "Calls of models, by outcome (ok or an error's class).",
            ["provider", "model", "outcome"],
            registry=registry,
        )
        self.model_seconds = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "A model call, whole.",
            ["provider", "model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.first_token_seconds = Histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "Until the first token of a model call.",
            ["provider", "model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of a model call, by direction (input or output).",
            ["provider", "model", "direction"],
            buckets=_TOKENS,
            registry=registry,
        )
        self.circuits = Gauge(
            "astromesh_circuits",
            "Circuits of model endpoints that are not closed, by state (open or half_open).",
            ["provider", "endpoint", "state"],
            registry=registry,
        )
        self.circuit_openings = Counter(
            "astromesh_circuit_openings",
            "How often this process opened a circuit, or its probe opened one again.",
            ["provider", "endpoint"],
            registry=registry,
        )
        self.tool_calls = Counter(
            "astromesh_tool_calls",
            "Calls of tools, by outcome (ok, failed or unknown).",
            ["tool", "outcome"],
            registry=registry,
        )
        self.tool_seconds = Histogram(
            "astromesh_tool_seconds", "A tool call.", ["tool"], buckets=_SECONDS, registry=registry
        )
        self.guard_verdicts = Counter(
            "astromesh_guard_verdicts",
            "Verdicts of guardrails, by stage, rule and action.",
            ["stage", "rule", "action"],
            registry=registry,
        )
        self.budget_refusals = Counter(
            "astromesh_budget_refusals",
            "Models passed over as a budget has too little left, by whose it is: run, agent, namespace or api_key.",
            ["scope"],
            registry=registry,
        )
        self.retrieval_seconds = Histogram(
            "astromesh_retrieval_seconds", "A query of a pipeline.", ["pipeline"], buckets=_SECONDS, registry=registry
        )

    def _declare_log(self, registry: CollectorRegistry) -> None:
        self.partitions_owned = Gauge(
            "astromesh_partitions_owned", "Partitions that this worker holds.", registry=registry
        )
        self.projection_lag = Gauge(
            "astromesh_projection_lag_seconds",
            "For how long the log has held something that a projection has not applied.",
            ["projection"],
            registry=registry,
        )
        self.log_alarms = Counter(
            "astromesh_log_alarms",
            "Gaps and broken chains found while reading the log. Anything above zero is an incident.",
            ["projection", "reason"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "astromesh_dead_letters", "Messages that no consumer could handle.", ["consumer"], registry=registry
        )

    def _declare_edges(self, registry: CollectorRegistry) -> None:
        self.http_requests = Counter(
            "astromesh_http_requests",
            "HTTP requests, by route (its template, never its path) and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.http_seconds = Histogram(
            "astromesh_http_seconds",
            "HTTP requests, until the head of the reply.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.rpc_failures = Counter(
            "astromesh_rpc_failures",
            "Failed calls between services, by the error's class. The good ones are the hot path and not counted.",
            ["method", "error"],
            registry=registry,
        )


class _Labelled(Collector):
    """A registry whose samples say which service's process they are from."""

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        self._registry = registry
        self._service = service

    def collect(self) -> Iterable[Metric]:
        """Part of a collector."""
        for family in self._registry.collect():
            family.samples = [
                sample._replace(labels={**sample.labels, "service": self._service}) for sample in family.samples
            ]
            yield family


class _Processes(Collector):
    """Which services' processes a page of several holds."""

    def __init__(self, up: Mapping[str, bool]) -> None:
        self._up = up

    def collect(self) -> Iterable[Metric]:
        """Part of a collector."""
        family = GaugeMetricFamily(
            "astromesh_process_up",
            "Whether the process of a service answered this scrape; where it did not, its metrics are missing here.",
            labels=["service"],
        )
        for service in sorted(self._up):
            family.add_metric([service], self._up[service])
        yield family


def processes_page(up: Mapping[str, bool]) -> str:
    """The part of a page of several processes that tells by service who answered."""
    return generate_latest(_Processes(up)).decode()
