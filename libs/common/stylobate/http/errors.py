"""What a door refuses by itself: requests that cannot be read, or that come too many at a time. None of it crosses gRPC."""

import grpc

from stylobate.errors import InvalidInputError, PermissionDeniedError, StylobateError, UnavailableError


class MalformedRequestError(InvalidInputError):
    """This is not a request in HTTP/1.1."""

    finer_status = 400
    reason = "MALFORMED_REQUEST"
    default_detail = "This is not a request in HTTP/1.1 (RFC 9112)."
    cure = "The detail says what cannot be read; a library that speaks HTTP writes it correctly."


class MalformedPathError(MalformedRequestError):
    """A path that is not percent-encoded UTF-8."""

    reason = "MALFORMED_PATH"
    default_detail = "The path is not percent-encoded UTF-8."
    cure = "Encode the path as UTF-8, then percent-encode it (RFC 3986)."


class MalformedQueryError(MalformedRequestError):
    """A query that is not percent-encoded UTF-8."""

    reason = "MALFORMED_QUERY"
    default_detail = "The query is not percent-encoded UTF-8."
    cure = "Encode names and values as UTF-8, then percent-encode them (RFC 3986)."


class TransferCodingUnsupportedError(InvalidInputError):
    """A body in a transfer coding other than chunked."""

    finer_status = 501
    reason = "TRANSFER_CODING_UNSUPPORTED"
    default_detail = "The only transfer coding taken here is chunked."
    cure = "Send the body with its length, or chunked."


class MethodNotAllowedError(StylobateError):
    """The resource exists and does not know the method; ``metadata["allow"]`` lists those it knows."""

    code = grpc.StatusCode.UNIMPLEMENTED
    finer_status = 405
    reason = "METHOD_NOT_ALLOWED"
    default_detail = "This resource does not know that method."
    cure = "Use a method of the `Allow` header."


class HeadersTooLargeError(InvalidInputError):
    """More header fields, or larger ones, than a request needs."""

    finer_status = 431
    reason = "HEADERS_TOO_LARGE"
    default_detail = "The head is too large."
    cure = "Send fewer and smaller header fields; the detail says which bound was passed."


class UriTooLongError(InvalidInputError):
    """A path and query longer than 16 KiB."""

    finer_status = 414
    reason = "URI_TOO_LONG"
    default_detail = "The path and query are too long."
    cure = "Send long input in a body."


class PayloadTooLargeError(InvalidInputError):
    """A body over the limit."""

    finer_status = 413
    reason = "PAYLOAD_TOO_LARGE"
    default_detail = "The body is too large."
    cure = "Send less; the limit is in the detail."


class PipelineTooLongError(StylobateError):
    """A client that sends requests ahead, more than it takes answers of."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "PIPELINE_TOO_LONG"
    default_detail = "Too many requests wait for answers on this connection."
    cure = "Wait for an answer before sending further requests on the same connection."


class RequestTimeoutError(StylobateError):
    """The request did not arrive in time."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    finer_status = 408
    reason = "REQUEST_TIMEOUT"
    default_detail = "The request did not come in time."
    cure = "Send the whole request at once, over a connection that is fast enough."


class TooManyConnectionsError(UnavailableError):
    """More connections than are granted to one address, or to all together."""

    reason = "TOO_MANY_CONNECTIONS"
    default_detail = "Too many connections are open."
    cure = "Wait for the time in Retry-After, and use connections again instead of opening new ones."


class TooManyUnreadableRequestsError(StylobateError):
    """An address that has sent many requests that could not be read is turned away for a while."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_UNREADABLE_REQUESTS"
    default_detail = "Too many requests of this address could not be read."
    cure = "Wait for the time in Retry-After, and send requests in HTTP/1.1."


class OverloadedError(UnavailableError):
    """More is asked than the process can do in time, or than it can hold; this request had to give way."""

    reason = "OVERLOADED"
    default_detail = "Too many requests are being received."
    cure = "Wait for the time in Retry-After and try again."


class HostRefusedError(PermissionDeniedError):
    """The request was sent to a name that does not belong to this machine: in development, or at the admin port."""

    reason = "HOST_REFUSED"
    default_detail = "In development the platform answers to loopback names, addresses and names without a dot."
    cure = "Use localhost, or name the host in STYLOBATE_GATEWAY_HOSTS; for the admin port in STYLOBATE_ADMIN_HOSTS."


class UpgradeRequiredError(InvalidInputError):
    """A request at a WebSocket's path that does not ask for one, or for another version of the protocol."""

    finer_status = 426
    reason = "UPGRADE_REQUIRED"
    default_detail = "Only WebSocket version 13 is spoken here."
    cure = "Open it with a WebSocket client (RFC 6455)."
    http_fields = ((b"sec-websocket-version", b"13"), (b"upgrade", b"websocket"))
