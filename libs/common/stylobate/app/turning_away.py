"""Connections that are turned away as they are accepted: answered with what little is known of them, and closed.

It costs a third of what a refusal by the protocol does: no task, no transport, no parser.
"""

import re
import socket
from collections.abc import Iterable
from contextlib import suppress

from stylobate.app.http_bounds import MAX_FIELDS
from stylobate.app.http_rules import TOO_MUCH
from stylobate.app.request_turns import TurnedAway
from stylobate.errors import StylobateError
from stylobate.http.asgi import Header, Headers, Scope
from stylobate.http.problem import bare_answer, whole_answer
from stylobate.ids import new_id

_UNREAD_BYTES = 64 * 1024
_STRAY = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
"""Others are made up: who counts refusals by method would count without end."""


def turn_away(accepted: socket.socket, refusal: StylobateError, fields: Iterable[Header]) -> None:
    """Say why, and close. What was sent until now is read, so that the close takes the answer from nobody.

    :param fields: of every answer.
    """
    with suppress(OSError):
        accepted.setblocking(False)
        with suppress(BlockingIOError):
            accepted.recv(_UNREAD_BYTES)
    _answer(accepted, whole_answer(refusal, fields, request_id=new_id()))


def refuse(accepted: socket.socket, fields: Iterable[Header], told: TurnedAway) -> bool:
    """Refuse a request because the process has too much to do, and close. False: there is none yet, and nothing was done.

    :param accepted: does not block. :param fields: of every answer.
    """
    try:
        sent = accepted.recv(_UNREAD_BYTES)
    except BlockingIOError:
        return False
    except OSError:
        sent = b""
    _answer(accepted, _refusal_of(sent, fields, told))
    return True


def close_unheard(accepted: socket.socket) -> None:
    """Close without an answer, where one could not be read before a handshake."""
    with accepted, suppress(OSError):
        accepted.shutdown(socket.SHUT_WR)


def _answer(accepted: socket.socket, text: bytes) -> None:
    with accepted, suppress(OSError):
        accepted.send(text)
        accepted.shutdown(socket.SHUT_WR)


def _refusal_of(sent: bytes, fields: Iterable[Header], told: TurnedAway) -> bytes:
    asked, request_id = _head_of(sent), new_id()
    if asked is None:
        return whole_answer(TOO_MUCH, fields, request_id=request_id)
    is_enough, more = told(asked)
    if is_enough:
        return bare_answer([*fields, *more], request_id=request_id, is_last=True)
    where, is_head = asked["raw_path"].decode("ascii"), asked["method"] == "HEAD"
    return whole_answer(TOO_MUCH, [*fields, *more], request_id=request_id, instance=where, is_head=is_head)


def _head_of(sent: bytes) -> Scope | None:
    """Return what :data:`TurnedAway` wants to know of a request whose head is there; None where none can be told.

    Such as one with the end of a line within a value: what is told of an origin repeats it.
    """
    head, end, _ = sent.partition(b"\r\n\r\n")
    if _STRAY.search(head):
        return None
    line, *lines = head.split(b"\r\n", MAX_FIELDS)
    words = line.split(b" ")
    if not end or len(words) != 3 or words[0] not in _METHODS or not line.isascii():  # noqa: PLR2004  method, target, version
        return None
    headers: Headers = []
    for one in lines:
        name, _, value = one.partition(b":")
        headers.append((name.lower(), value.strip()))
    return {"type": "http", "method": words[0].decode(), "raw_path": words[1].partition(b"?")[0], "headers": headers}
