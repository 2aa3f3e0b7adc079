"""The transport's limits, the same on both sides and in both placements, so that a message is refused alike
everywhere."""

from __future__ import annotations

from astromesh_core.errors import InvalidInput

MESSAGE_LIMIT = 16 * 1024 * 1024
"""Bytes of the largest request or reply: above any page of events, far below what would stall the loop."""

PENDING_REQUESTS = 20_000
PENDING_REQUESTS_HARD = 40_000
"""gRPC's own queue in front of our handlers. Its default rejects a burst of a thousand calls at random, as
CANCELLED."""

CONCURRENT_CALLS = 10_000
"""Calls that one server has open at once, followed streams included; the surplus is refused as RateLimited."""

# Above ours, so that ours is the one that speaks: its error names the size and the limit.
_TRANSPORT_LIMIT = MESSAGE_LIMIT + 64 * 1024

Options = tuple[tuple[str, int], ...]

_MESSAGES: Options = (
    # Errors and callers travel in headers; the default of 8 KiB is too little for a long message in a non-Latin script.
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.max_send_message_length", _TRANSPORT_LIMIT),
    ("grpc.max_receive_message_length", _TRANSPORT_LIMIT),
)

SERVER_OPTIONS: Options = (
    *_MESSAGES,
    ("grpc.so_reuseport", 0),
    ("grpc.server.max_pending_requests", PENDING_REQUESTS),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_REQUESTS_HARD),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

CHANNEL_OPTIONS: Options = (
    *_MESSAGES,
    # A retry of the transport's, transparent ones included, could execute a tool twice.
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A peer that vanished without a word is found out while a call waits for it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


def within_limit(data: bytes, what: str) -> bytes:
    """The serialised message, unless it is over the limit: then InvalidInput, which names both sizes."""
    if len(data) > MESSAGE_LIMIT:
        raise InvalidInput(f"The {what} has {len(data)} bytes; a message may have {MESSAGE_LIMIT}.")
    return data
