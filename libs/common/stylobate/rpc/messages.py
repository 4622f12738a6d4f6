"""What messages may not hold: requests text that nobody behind can keep, answers more than the transport carries."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from stylobate.errors import InvalidInputError, Violation
from stylobate.rpc.method import MAX_MESSAGE_BYTES

T = TypeVar("T", bound=Message)
NUL = 0
"""As a number: to look for bytes in bytes costs an exception each time."""
_NUL = "\0"


class AnswerTooLargeError(InvalidInputError):
    """An answer over the size of a message. What was asked for may have happened."""

    reason = "ANSWER_TOO_LARGE"
    default_detail = f"The answer is larger than {MAX_MESSAGE_BYTES // 2**20} MiB."
    cure = "Ask for less at a time: fewer objects, smaller pages."


def refuse_nul(request: Message) -> None:
    """Raise InvalidInputError where a text field holds U+0000: PostgreSQL keeps no such text, C libraries end it there.

    Bytes fields may hold anything.
    """
    if places := list(_places(request, "")):
        raise InvalidInputError(violations=[Violation(place, "must not contain U+0000") for place in places])


def fitting(answer: T) -> T:
    """Return an answer that leaves as it is. Raises AnswerTooLargeError where it could not leave encoded."""
    if answer.ByteSize() > MAX_MESSAGE_BYTES:
        raise AnswerTooLargeError
    return answer


def _places(value: Any, place: str) -> Iterator[str]:
    """Yield the pointer of each text with U+0000: ``/keys/0/namespace``; of a map's key that of the map, without the text."""
    if isinstance(value, str):
        if _NUL in value:
            yield place
    elif isinstance(value, Message):
        for field, held in value.ListFields():
            yield from _places(held, f"{place}/{field.name}")
    elif isinstance(value, Mapping):
        for key, held in value.items():
            is_bad = isinstance(key, str) and _NUL in key
            yield from (place,) if is_bad else _places(held, f"{place}/{key}")
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for index, item in enumerate(value):
            yield from _places(item, f"{place}/{index}")
