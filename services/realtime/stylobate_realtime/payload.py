"""Payloads of publications: any JSON value, passed on byte by byte."""

from stylobate.strict_json import JsonMalformedError, JsonRefusedError, loads


class PayloadInvalidError(Exception):
    """Empty, too long, or not JSON: subscribers that speak JSON could not receive it."""


def checked_payload(data: bytes, limit: int) -> bytes:
    """Return the payload when it can be published. Raises PayloadInvalidError with a sentence for a person.

    :param limit: bytes.
    """
    if len(data) > limit:
        raise PayloadInvalidError(f"A publication's payload is at most {limit} bytes.")
    try:
        loads(data)
    except JsonMalformedError:
        raise PayloadInvalidError("A publication's payload is one JSON value.") from None
    except JsonRefusedError as error:
        raise PayloadInvalidError(f"A publication's payload is not carried: {error}.") from None
    return data
