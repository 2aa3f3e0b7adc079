"""Errors as they cross gRPC: one table from class to status, and back. The class and `retry_after` travel in google.rpc
status details, which any gRPC client understands. No call is made here."""

from __future__ import annotations

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from astromesh_core import errors
from astromesh_core.errors import AstromeshError

DETAILS_KEY = "grpc-status-details-bin"
_DOMAIN = "astromesh"
_MESSAGE_CHARACTERS = 2_000

STATUS: dict[type[AstromeshError], grpc.StatusCode] = {
    errors.AstromeshError: grpc.StatusCode.UNKNOWN,
    errors.PermanentError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.ALREADY_EXISTS,
    errors.Denied: grpc.StatusCode.PERMISSION_DENIED,
    errors.PolicyRefused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.BudgetExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.LimitExceeded: grpc.StatusCode.OUT_OF_RANGE,
    errors.NotSupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.TemporaryError: grpc.StatusCode.UNAVAILABLE,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.Bug: grpc.StatusCode.INTERNAL,
}
"""The status that a class travels under."""

CLASSES: dict[grpc.StatusCode, type[AstromeshError]] = {
    # Not by us: a caller's own cancellation is asyncio's and never comes here. A server under pressure answers so.
    grpc.StatusCode.CANCELLED: errors.Unavailable,
    grpc.StatusCode.UNKNOWN: errors.Bug,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.TimedOut,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.Conflict,
    grpc.StatusCode.PERMISSION_DENIED: errors.Denied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.RateLimited,
    grpc.StatusCode.FAILED_PRECONDITION: errors.PermanentError,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.OUT_OF_RANGE: errors.LimitExceeded,
    grpc.StatusCode.UNIMPLEMENTED: errors.NotSupported,
    grpc.StatusCode.INTERNAL: errors.Bug,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DATA_LOSS: errors.Bug,
    grpc.StatusCode.UNAUTHENTICATED: errors.Denied,
}
"""The class of a status that came without details: from the transport, or from a server that is not ours."""


class PeerGone(errors.Unavailable):
    """The transport failed, not the service: it cannot be reached, or went away as it answered. It may have acted."""


class PeerUnreached(PeerGone):
    """No connection came about: nothing was sent, so nobody has acted."""


_NEVER_SENT = ("failed to connect to all addresses", "errors resolving ")
"""How gRPC begins to tell of a call for which it had no connection. One told of otherwise may have been sent."""


def public_class(error: AstromeshError) -> type[AstromeshError]:
    """The nearest class of the public tree: a service's own subclass travels as what it is a kind of."""
    return next(kind for kind in type(error).__mro__ if kind in STATUS)


def encode(error: AstromeshError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Status, message and trailing metadata for an error."""
    kind = public_class(error)
    code = STATUS[kind]
    # It travels twice, in headers, which are small.
    message = error.message[:_MESSAGE_CHARACTERS]
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=kind.code, domain=_DOMAIN))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return code, message, ((DETAILS_KEY, status.SerializeToString()),)


def decode(error: grpc.aio.AioRpcError, peer: str) -> AstromeshError:
    """The error that a failed gRPC call to this peer means to its caller."""
    kind = CLASSES.get(error.code(), errors.Bug)
    if kind is errors.Unavailable:
        kind = PeerGone  # unless the details say that the service itself answered so
    retry_after: float | None = None
    metadata: grpc.aio.Metadata | None = error.trailing_metadata()
    details = None if metadata is None else metadata.get(DETAILS_KEY)
    if isinstance(details, bytes):
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo()
                detail.Unpack(info)
                kind = errors.ERRORS.get(info.reason, kind) if info.domain == _DOMAIN else kind
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo()
                detail.Unpack(retry)
                retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    if kind is PeerGone:
        # The transport's own words tell of sockets and of C++: nothing that a caller could act on.
        kind = PeerUnreached if (error.details() or "").startswith(_NEVER_SENT) else PeerGone
        return kind(f"{peer} does not answer: it is not running, or went away meanwhile", retry_after=retry_after)
    return kind(error.details() or error.code().name, retry_after=retry_after)
