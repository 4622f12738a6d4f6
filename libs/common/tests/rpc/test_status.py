"""Errors to statuses and back."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from stylobate.errors import StylobateError, Violation
from stylobate.rpc import from_rpc_error, to_status
from stylobate.rpc.status import DETAILS_KEY, carried_error

_TEXT = st.text(st.characters(codec="utf-8"), max_size=50)
_CODES = st.sampled_from([code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])


def _failed(code: grpc.StatusCode, details: bytes | None = None) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata() if details is None else grpc.aio.Metadata((DETAILS_KEY, details))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, "failed to connect to ipv4:10.0.0.7:9090")


_ERRORS = st.builds(
    StylobateError.of,
    code=_CODES,
    reason=_TEXT,
    detail=_TEXT.filter(bool),
    metadata=st.dictionaries(_TEXT, _TEXT, max_size=3),
    violations=st.lists(st.builds(Violation, _TEXT, _TEXT), max_size=3),
    retry_after=st.none() | st.timedeltas(timedelta(0), timedelta(days=1)),
)


@given(_ERRORS)
def test_an_error_comes_back_as_it_was(error: StylobateError):
    """Whatever an error holds is there again on the other side."""
    back = from_rpc_error(_failed(error.code, to_status(error, domain="stylobate.state").SerializeToString()))
    assert (back.code, back.reason, back.detail, back.metadata) == (error.code, error.reason, error.detail, error.metadata)
    assert (back.violations, back.retry_after, back.domain) == (error.violations, error.retry_after, "stylobate.state")


def test_what_is_cut_shows_that_it_is():
    """Of a text that is too long the caller sees the beginning, and that it is not all."""
    long = StylobateError("d" * 2_000, metadata={"sku": "m" * 2_000}, violations=[Violation("/" + "p" * 2_000, "v" * 2_000)])
    back = from_rpc_error(_failed(long.code, to_status(long).SerializeToString()))
    (found,) = back.violations
    for text, whole in ((back.detail, "d"), (back.metadata["sku"], "m"), (found.pointer[1:], "p"), (found.detail, "v")):
        assert text.strip(whole) == "…"
        assert len(text) <= 1_000


def test_the_first_speaker_stays_named():
    """An error that passes a second service keeps the domain of the one that raised it."""
    status = to_status(StylobateError(domain="stylobate.auth"), domain="stylobate.actions")
    assert from_rpc_error(_failed(grpc.StatusCode.INTERNAL, status.SerializeToString())).domain == "stylobate.auth"


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_status_without_details_keeps_its_code_and_hides_its_text(code: grpc.StatusCode):
    """A transport's failure becomes the error of its code; its text, which names addresses, is left behind."""
    error = from_rpc_error(_failed(code))
    expected = {
        grpc.StatusCode.UNKNOWN: grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED: grpc.StatusCode.UNAVAILABLE,  # a server that stops cuts calls off with it
    }.get(code, code)
    assert error.code is expected
    assert "10.0.0.7" not in error.detail


def test_an_unreachable_target_may_be_tried_again():
    """UNAVAILABLE of the transport says when to try again, and counts as a failure of the transport."""
    assert from_rpc_error(_failed(grpc.StatusCode.UNAVAILABLE)).retry_after == timedelta(seconds=1)
    assert carried_error(_failed(grpc.StatusCode.UNAVAILABLE)) is None
    carried = to_status(StylobateError.of(code=grpc.StatusCode.UNAVAILABLE, reason="DATABASE_UNAVAILABLE", detail="x"))
    assert carried_error(_failed(grpc.StatusCode.UNAVAILABLE, carried.SerializeToString())) is not None


@pytest.mark.parametrize(
    "details",
    [
        b"\xff",
        b"",
        Status(code=5, message="x").SerializeToString(),
        Status(code=5, details=[Any(type_url="a/b")]).SerializeToString(),
    ],
    ids=["garbage", "empty", "without details", "with foreign details"],
)
def test_details_of_a_foreign_server(details: bytes):
    """Details that are not ours do not matter: the code stands."""
    assert from_rpc_error(_failed(grpc.StatusCode.NOT_FOUND, details)).reason == "NOT_FOUND"
