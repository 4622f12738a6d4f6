"""Heads that come again are not parsed again: what is answered is the same, wherever a read of the socket ends."""

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


def request(*lines: bytes, method: bytes = b"POST", path: bytes = b"/last", body: bytes = b"") -> bytes:
    """Return a request."""
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"host: x", *lines, b"", body])


LAST = request(b"connection: close", method=b"GET")
KNOWN = request(b"content-length: 2", b"x-kind: known", path=b"/known", body=b"ab")
HEAD = KNOWN[:-2]
OTHER = HEAD + b"cd"
OPEN = b"POST /open HTTP/1.1\r\nhost: x\r\nx-open: "
CHUNKED = request(b"transfer-encoding: chunked", path=b"/chunked", body=b"1\r\nz\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("parts", "bodies"),
    [
        ((KNOWN, OTHER, KNOWN), ["ab", "cd", "ab"]),
        ((KNOWN + OTHER, OTHER), ["ab", "cd", "cd"]),
        ((KNOWN[:9], KNOWN[9:], OTHER), ["ab", "cd"]),
        ((HEAD, b"ab", HEAD + b"c", b"d", KNOWN), ["ab", "cd", "ab"]),
        ((b"\r\n" + KNOWN, OTHER), ["ab", "cd"]),
        ((CHUNKED, KNOWN, CHUNKED, OTHER), ["z", "ab", "z", "cd"]),
        ((KNOWN + CHUNKED[:-7], CHUNKED[-7:], OTHER), ["ab", "z", "cd"]),
    ],
)
async def test_what_is_known_is_answered_as_it_was(echo, answers_in, parts, bodies) -> None:
    """Each request has its own body, in its order, and the fields of its head."""
    await echo.send(KNOWN, LAST)
    answers = answers_in(await echo.send(*parts, LAST))
    assert [(status, said["body"]) for status, _, said in answers] == [(200, body) for body in [*bodies, ""]]
    known = [said for _, _, said in answers if said["path"] == "/known"]
    assert all(["x-kind", "known"] in said["headers"] for said in known)
    assert {said["path"] for _, _, said in answers} <= {"/known", "/chunked", "/last"}


async def test_a_known_head_within_another_is_none(echo, answers_in) -> None:
    """What stands where a head is not over yet belongs to that head, whoever has sent the same bytes as a request before."""
    await echo.send(KNOWN, LAST)
    answers = answers_in(await echo.send(KNOWN + OPEN, KNOWN))
    assert [status for status, _, _ in answers] == [200, 400]  # a head with two hosts
    answers = answers_in(await echo.send(request(b"content-length: %d" % len(KNOWN), path=b"/body"), KNOWN, LAST))
    assert [(said["path"], said["body"]) for _, _, said in answers] == [("/body", KNOWN.decode()), ("/last", "")]


async def test_who_ends_the_connection_is_not_known_by_heart(echo, answers_in) -> None:
    """The end that a head asks for comes each time that it is sent."""
    last = request(b"content-length: 2", b"connection: close", path=b"/known", body=b"ab")
    for _ in range(3):
        assert [status for status, _, _ in answers_in(await echo.send(last))] == [200]
