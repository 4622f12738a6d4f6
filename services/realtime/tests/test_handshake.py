"""The upgrade request: what is accepted, what is refused and how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate.errors import StylobateError
from stylobate.http.errors import MalformedRequestError
from stylobate.http.problem import whole_answer
from stylobate_realtime.wire.handshake import UpgradeRequest

PATHS = ("/v1/realtime",)


def request(path: str = "/v1/realtime", method: str = "GET", **headers: str) -> UpgradeRequest:
    """Return a good request, changed as asked; a header set to "-" is left out."""
    fields = {
        "host": "example.com", "upgrade": "websocket", "connection": "Upgrade", "sec_websocket_version": "13",
        "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
    } | headers  # fmt: skip
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value != "-"]
    return UpgradeRequest.parse("\r\n".join([f"{method} {path} HTTP/1.1", *lines]).encode("latin-1", "replace"))


def test_answer_of_the_rfc():
    """The RFC's sample key gives the RFC's sample answer; no subprotocol is named when none was offered."""
    good = request()
    good.check(PATHS)
    answer = good.response().decode()
    assert answer.startswith("HTTP/1.1 101 ")
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert "Protocol" not in answer.replace("Switching Protocols", "")


@pytest.mark.parametrize(
    ("offered", "query", "chosen", "is_protobuf"),
    [
        ("-", "", "", False),
        ("", "", "", False),  # an SDK sends it empty in JSON mode
        ("centrifuge-json", "", "centrifuge-json", False),
        ("other, centrifuge-protobuf", "", "centrifuge-protobuf", True),
        ("other", "", "", False),
        ("-", "?format=protobuf", "", True),
        ("-", "?cf_protocol=protobuf", "", True),
        ("-", "?format=json", "", False),
    ],
)
def test_encoding_is_chosen_at_the_upgrade(offered, query, chosen, is_protobuf):
    """The subprotocol decides, else the query, else JSON; what was offered and known is echoed."""
    found = request(f"/v1/realtime{query}", sec_websocket_protocol=offered)
    found.check(PATHS)
    assert (found.subprotocol, found.wants_protobuf) == (chosen, is_protobuf)
    assert (f"Sec-WebSocket-Protocol: {chosen}\r\n" in found.response().decode()) is bool(chosen)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        (request("/elsewhere"), 404),
        (request(method="POST"), 405),
        (request(sec_websocket_version="8"), 426),
        (request(host="-"), 400),
        (request(host=""), 400),
        (request(host="a b"), 400),
        (request(host="["), 400),
        (request(host="example.com\r\nhost: example.com"), 400),
        (request(sec_websocket_key="-"), 400),
        (request(sec_websocket_key="c2hvcnQ="), 400),
        (request(sec_websocket_key="not base64 at all!"), 400),
    ],
)
def test_wrong_requests_are_refused(changed, status):
    """Another path, method, version or key gets a problem with the right status."""
    with pytest.raises(StylobateError) as refused:
        changed.check(PATHS)
    answer = whole_answer(refused.value, [], request_id="r").decode()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert "content-type: application/problem+json" in answer


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET",
        b"GET http://[ HTTP/1.1",
        b"GET /?" + b"&" * 99 + b" HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET / HTTP/1.1\r\nno colon",
        b"GET / HTTP/1.1\r\na: b\x00c",
        b"\xff\xfe",
    ],
)
def test_unreadable_requests_are_refused(head):
    """What is not a request is a 400."""
    with pytest.raises(MalformedRequestError):
        UpgradeRequest.parse(head)


@pytest.mark.parametrize(
    ("origin", "allowed", "loopback", "passes"),
    [
        ("-", (), False, True),  # no browser
        ("https://example.com", (), False, True),
        ("http://EXAMPLE.com:80", (), False, True),
        ("https://evil.com", (), False, False),
        ("http://[", (), True, False),
        ("http://[", ("https://app.com",), True, False),
        ("http://a\u2100b", (), True, False),
        ("//[::1", (), True, False),
        ("", (), True, False),
        ("https://example.com.evil.com", (), False, False),
        ("null", (), False, False),
        ("http://localhost:3000", (), False, False),
        ("http://localhost:3000", (), True, True),
        ("http://localhost.evil.com", (), True, False),
        ("https://app.com", ("https://app.com",), False, True),
        ("http://app.com", ("https://app.com",), False, False),
        ("https://example.com", ("https://app.com",), False, False),
        ("https://evil.com", ("*",), False, True),
    ],
)
def test_origins(origin, allowed, loopback, passes):
    """A page may connect to its own host, or from the origins of the setting; in development from this machine too."""
    asked = request(origin=origin)
    if passes:
        asked.check_origin(allowed, loopback=loopback)
        return
    with pytest.raises(StylobateError) as refused:
        asked.check_origin(allowed, loopback=loopback)
    assert refused.value.http_status == 403


_VALUES = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=60),
    st.text("[]:/@?#%&=.,; \\-_0123456789abf\u2100", max_size=30).map(lambda text: f"http://{text}"),
)
_HEADERS = (
    "host",
    "origin",
    "sec_websocket_key",
    "sec_websocket_version",
    "sec_websocket_protocol",
    "upgrade",
    "x_forwarded_for",
)


@given(st.dictionaries(st.sampled_from(_HEADERS), _VALUES), _VALUES, st.sampled_from(["GET", "POST", "", "G ET"]))
def test_any_request_is_answered_or_refused(headers, query, method):
    """Whatever the headers hold, the request is accepted or refused with an answer of HTTP that is one line a header."""
    try:
        asked = request(f"/v1/realtime?{query}", method, **headers)
        asked.check(PATHS)
        asked.check_origin((), loopback=True)
        answer = asked.response()
    except StylobateError as refusal:
        answer = whole_answer(refusal, [], request_id="r")
        assert answer.startswith(b"HTTP/1.1 4")
    head = answer.partition(b"\r\n\r\n")[0]
    assert head.count(b"\n") == head.count(b"\r\n") < 9
