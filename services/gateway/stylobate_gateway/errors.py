"""What the gateway itself refuses."""

import grpc
from stylobate.errors import InvalidInputError, NotFoundError, PermissionDeniedError, StylobateError


class MalformedJsonError(InvalidInputError):
    """The body is not JSON."""

    reason = "MALFORMED_JSON"
    default_detail = "The body is not valid JSON."
    cure = "Send JSON (RFC 8259) in UTF-8."


class InvalidHeaderError(InvalidInputError):
    """A header that cannot be read."""

    reason = "INVALID_HEADER"
    default_detail = "A header of the request cannot be read."
    cure = "The detail names the header and the form that it must have."


class UnsupportedMediaTypeError(InvalidInputError):
    """A body of a type that is not taken here."""

    reason = "UNSUPPORTED_MEDIA_TYPE"
    default_detail = "The body must be application/json."
    cure = "Send `Content-Type: application/json`."


class ContentCodingUnsupportedError(InvalidInputError):
    """A body that is compressed, or coded in another way: it is read as it was sent, so it would not be what it says."""

    reason = "CONTENT_CODING_UNSUPPORTED"
    default_detail = "The body must be sent as it is, not compressed."
    cure = "Leave `Content-Encoding` out, and send the body as it is."


class CorsRefusedError(InvalidInputError):
    """A browser asked whether a page of another origin may send a request, and it may not."""

    reason = "CORS_REFUSED"
    default_detail = "Pages of this origin may not send this request."
    cure = "An operator lists the page's origin in STYLOBATE_GATEWAY_CORS_ORIGINS; the detail says what else is not let through."


class BodyNotAllowedError(InvalidInputError):
    """A body where the input stands in the path and the query."""

    reason = "BODY_NOT_ALLOWED"
    default_detail = "This request takes its input from the path and the query, not from a body."
    cure = "Send the fields as parameters: `?name=value`, a list by repeating the name. `POST /v1/actions/<name>` takes a body."


class PayloadTooLargeError(InvalidInputError):
    """A body over the limit."""

    reason = "PAYLOAD_TOO_LARGE"
    default_detail = "The body is too large."
    cure = "Send less; the limit is in the detail."


class MethodNotAllowedError(StylobateError):
    """The resource exists and does not know the method; ``metadata["allow"]`` lists those it knows."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "METHOD_NOT_ALLOWED"
    default_detail = "This resource does not know that method."
    cure = "Use a method of the `Allow` header."


class RouteNotFoundError(NotFoundError):
    """No such path."""

    reason = "ROUTE_NOT_FOUND"
    default_detail = "There is nothing at this path."
    cure = "/openapi.json lists every path."


class IdempotencyKeyUnsupportedError(InvalidInputError):
    """A promise that is not carried out yet is refused, never read over."""

    reason = "IDEMPOTENCY_KEY_UNSUPPORTED"
    default_detail = "Idempotency-Key is not carried out yet; a request that relies on it is refused."
    cure = "Leave the header out, and do not repeat a mutation blindly: read first, or use If-Match."


class HostRefusedError(PermissionDeniedError):
    """In development only: the request was sent to a name that is none of this machine's."""

    reason = "HOST_REFUSED"
    default_detail = "In development the platform answers to loopback names, addresses and names without a dot."
    cure = "Use localhost, or name the host in STYLOBATE_GATEWAY_HOSTS."
