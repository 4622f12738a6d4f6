"""Shapes of state objects. Payloads pass as the bytes they came in, so that every number keeps its digits."""

from typing import TypeVar

import msgspec
from msgspec import Raw, Struct
from stylobate.errors import InvalidInputError, Violation

from stylobate_gateway.errors import MalformedJsonError

T = TypeVar("T")


class PutBody(Struct, forbid_unknown_fields=True):
    """``{data, status?}``."""

    data: Raw
    status: str | None = None


class TransitionBody(Struct, forbid_unknown_fields=True):
    """``{data?}``, merged into the object's data (RFC 7396)."""

    data: Raw = Raw(b"")


_PUT = msgspec.json.Decoder(PutBody)
_TRANSITION = msgspec.json.Decoder(TransitionBody)
_ANY = msgspec.json.Decoder(Raw)


def parse_put(body: bytes) -> PutBody:
    """Return the body of a PUT. Raises MalformedJsonError or InvalidInputError."""
    return _parse(_PUT, body)


def parse_transition(body: bytes) -> TransitionBody:
    """Return the body of a transition; none at all is fine. Raises MalformedJsonError or InvalidInputError."""
    return _parse(_TRANSITION, body) if body.strip() else TransitionBody()


def parse_patch(body: bytes) -> bytes:
    """Return the body of a PATCH as it came: any JSON. Raises MalformedJsonError or InvalidInputError."""
    return bytes(_parse(_ANY, body))


def _parse(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        body.decode()  # payloads are passed over unread, broken UTF-8 in their strings too
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        if decoder is not _ANY:
            _parse(_ANY, body)  # decoding ends at the first finding: is it JSON at all?
        message, _, path = str(error).partition(" - at `$")
        pointer = path.rstrip("`").replace(".", "/").replace("[", "/").replace("]", "")
        raise InvalidInputError(violations=[Violation(pointer, message)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedJsonError(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidInputError(violations=[Violation("", "is nested too deep")]) from None
