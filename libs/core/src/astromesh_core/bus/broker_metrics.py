"""FastStream's Prometheus metrics with labels that stay few: streams and consumers, never concrete subjects."""

from __future__ import annotations

from typing import Any

from faststream.nats.prometheus.provider import NatsMetricsSettingsProvider
from faststream.prometheus.middleware import PrometheusMiddleware
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry

_CONSUMER_TOKENS = slice(2, 4)


class _FewLabels(NatsMetricsSettingsProvider):
    def get_consume_attrs_from_message(self, msg: Any) -> Any:
        # $JS.ACK.{stream}.{consumer}.…
        consumer = "/".join(msg.raw_message.reply.split(".")[_CONSUMER_TOKENS])
        return {"destination_name": consumer, "message_size": len(msg.body), "messages_count": 1}

    def get_publish_destination_name_from_cmd(self, cmd: Any) -> str:
        return str(cmd.stream)


def _settings(msg: object) -> _FewLabels | None:
    return _FewLabels() if isinstance(msg, Msg) or msg is None else None


class BoundedMetrics(PrometheusMiddleware[Any, Any]):
    """Counts and times what is received and published, by stream and consumer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(settings_provider_factory=_settings, registry=registry, metrics_prefix="astromesh_consumer")
