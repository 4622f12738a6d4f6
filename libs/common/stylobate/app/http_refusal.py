"""What the HTTP listener answers by itself, for what never becomes a request of the application. Answered with, never raised."""

from datetime import timedelta

from stylobate.http import errors

_SOON = timedelta(seconds=1)

MALFORMED = errors.MalformedRequestError()
HOST = errors.MalformedRequestError("A request has one Host, and it is a host with or without a port (RFC 9112 section 3.2).")
PATH = errors.MalformedPathError()
QUERY = errors.MalformedQueryError()
TRANSFER_ENCODING = errors.MalformedRequestError(
    "Transfer-Encoding is for HTTP/1.1, stands once and ends with chunked (RFC 9112 section 6.1)."
)
CODING = errors.TransferCodingUnsupportedError()
UPGRADE_WITH_BODY = errors.MalformedRequestError("A request for a WebSocket has no body.")
CHUNKS = errors.MalformedRequestError("The chunks of the body carry far more than its data.")
CONNECT = errors.MethodNotAllowedError("This is not a proxy.", metadata={"allow": "GET, HEAD, POST"})
HEAD_TOO_LARGE = errors.HeadersTooLargeError()
TARGET_TOO_LONG = errors.UriTooLongError()
TOO_MANY_FIELDS = errors.HeadersTooLargeError("The head has too many fields.")
TRAILERS = errors.HeadersTooLargeError("The fields behind the body are too large.")
PIPELINE = errors.PipelineTooLongError()
HEAD_LATE = errors.RequestTimeoutError("The head of the request did not come in time.")
BODY_LATE = errors.RequestTimeoutError("The body of the request did not come in time.")
FULL = errors.TooManyConnectionsError(retry_after=_SOON)
FULL_ADDRESS = errors.TooManyConnectionsError("Too many connections of this address are open.", retry_after=_SOON)
UNREADABLE = errors.TooManyUnreadableRequestsError(retry_after=timedelta(seconds=10))
OVERLOADED = errors.OverloadedError(retry_after=_SOON)
