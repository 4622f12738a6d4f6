"""What the gateway itself refuses."""

from datetime import timedelta

from stylobate.errors import InvalidInputError, NotFoundError, PermissionDeniedError, UnavailableError


class InvalidHeaderError(InvalidInputError):
    """A header that cannot be read."""

    finer_status = 400
    reason = "INVALID_HEADER"
    default_detail = "A header of the request cannot be read."
    cure = "The detail names the header and the form that it must have."


class ContentCodingUnsupportedError(InvalidInputError):
    """A body that is compressed, or coded in another way: it is read as it was sent, so it would not be what it says."""

    finer_status = 415
    reason = "CONTENT_CODING_UNSUPPORTED"
    default_detail = "The body must be sent as it is, not compressed."
    cure = "Leave `Content-Encoding` out, and send the body as it is."
    http_fields = ((b"accept-encoding", b"identity"),)  # RFC 9110 §12.5.3


class CorsRefusedError(InvalidInputError):
    """A browser asked whether a page of another origin may send a request, and it may not."""

    finer_status = 400
    reason = "CORS_REFUSED"
    default_detail = "Pages of this origin may not send this request."
    cure = "An operator lists the page's origin in STYLOBATE_GATEWAY_CORS_ORIGINS; the detail says what else is not let through."


class CsrfRefusedError(PermissionDeniedError):
    """A change that is asked for by the session of a browser, and does not prove to come from a page of ours."""

    reason = "CSRF_REFUSED"
    default_detail = "The request lacks the CSRF token of its session."
    cure = "Send the value of the cookie `stylobate_csrf` (`__Host-stylobate_csrf`) as `X-CSRF-Token` with every change."


class BrowserSessionsOffError(InvalidInputError):
    """A login that asks for cookies where none are given."""

    finer_status = 400
    reason = "BROWSER_SESSIONS_OFF"
    default_detail = "Sessions in cookies are not given here."
    cure = "Leave `X-Session-Mode` out and keep the tokens; an operator sets STYLOBATE_GATEWAY_BROWSER_SESSIONS=true."


class BodyNotAllowedError(InvalidInputError):
    """A body where the input stands in the path and the query."""

    finer_status = 400
    reason = "BODY_NOT_ALLOWED"
    default_detail = "This request takes its input from the path and the query, not from a body."
    cure = "Send the fields as parameters: `?name=value`, a list by repeating the name. `POST /v1/actions/<name>` takes a body."


class RouteNotFoundError(NotFoundError):
    """No such path."""

    reason = "ROUTE_NOT_FOUND"
    default_detail = "There is nothing at this path."
    cure = "/openapi.json lists every path."


class WatchesFullError(UnavailableError):
    """The process has as many watches of state open as it may have, or stops."""

    reason = "WATCHES_FULL"
    default_detail = "No more watches can be opened at the moment."
    cure = "Try again after the time in Retry-After; an operator raises STYLOBATE_GATEWAY_WATCHES or adds a process."

    def __init__(self) -> None:
        super().__init__(retry_after=timedelta(seconds=1))
