"""Messages at the border: requests decoded and refused where nobody behind can keep what they hold; answers bounded."""

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import DecodeError, Message

from stylobate.errors import InvalidInputError, Violation
from stylobate.rpc.method import MAX_MESSAGE_BYTES

_NUL = "\0"
_NUL_BYTE = b"\0"


class AnswerTooLargeError(InvalidInputError):
    """An answer over the size of a message. What was asked for may have happened."""

    reason = "ANSWER_TOO_LARGE"
    default_detail = f"The answer is larger than {MAX_MESSAGE_BYTES // 2**20} MiB."
    cure = "Ask for less at a time: fewer objects, smaller pages."


def writer(encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return what writes a method's answers; it raises AnswerTooLargeError where the transport would cut the call off.

    :param encode: as generated.
    """

    def write(answer: Any) -> bytes:
        data = encode(answer)
        if len(data) > MAX_MESSAGE_BYTES:
            raise AnswerTooLargeError
        return data

    return write


def reader(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return what reads a method's requests.

    It raises InvalidInputError for bytes that are not a message (text that is not UTF-8 included), and where a text field holds
    U+0000: PostgreSQL keeps no such text, C libraries end it there. Bytes fields may hold anything.

    :param decode: as generated.
    """

    def read(data: bytes) -> Any:
        try:
            request = decode(data)
        except DecodeError as error:
            raise InvalidInputError("The request message cannot be decoded.") from error
        if _NUL_BYTE in data:  # rare, and most often a number or bytes
            places = list(_places(request, ""))
            if places:
                raise InvalidInputError(violations=[Violation(place, "must not contain U+0000") for place in places])
        return request

    return read


def _places(message: Message, above: str) -> Iterator[str]:
    """Yield the pointer of each text with U+0000: ``/keys/0/namespace``; of a map that of the entry, without the key's text."""
    for field, value in message.ListFields():
        place = f"{above}/{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield from _places_in_map(value, place)
        elif field.is_repeated:
            for index, item in enumerate(value):
                yield from _places_in(item, f"{place}/{index}")
        else:
            yield from _places_in(value, place)


def _places_in_map(value: Any, place: str) -> Iterator[str]:
    for key in value:
        if isinstance(key, str) and _NUL in key:
            yield place
        else:
            yield from _places_in(value[key], f"{place}/{key}")


def _places_in(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, Message):
        yield from _places(value, place)
    elif isinstance(value, str) and _NUL in value:
        yield place
