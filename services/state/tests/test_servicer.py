"""``StateService`` as a caller meets it: through a channel, with tokens and real error details."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub, add_StateServiceServicer_to_server
from stylobate.declarations.model import AccessRule, FieldDeclaration
from stylobate.errors import TokenInvalidError
from stylobate.idempotency import Idempotency
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.rpc import LocalChannel, LocalServer, Servicers, standard_interceptors
from stylobate.strict_json import loads
from stylobate.testing.until import until
from stylobate_state.servicer import StateServicer
from stylobate_state.state_manager import StateManager
from stylobate_state.store.memory import MemoryStateStore

from .samples import ADA, BOB, NOTES

TOTAL = b'{"total": 9007199254740993}'


class Users:
    """Verifies tokens that are names."""

    def cached(self, token):
        """Know two people."""
        return {"ada": ADA, "bob": BOB}.get(token)

    async def verify(self, token):
        """Know nobody else."""
        raise TokenInvalidError


class Services:
    """Verifies service tokens that are names."""

    def verify(self, token, audiences=()):
        """Believe it."""
        return token


def by(user="", via=""):
    """Return the metadata of a call by the user, coming through a service."""
    pairs = [("authorization", f"Bearer {user}")] if user else []
    return (*pairs, ("stylobate-service-token", via)) if via else tuple(pairs)


HANDLER = by("ada", "actions")


@asynccontextmanager
async def serving(manager, watches, ledger):
    """Give the stub over the local channel and the whole pipeline."""
    servicers = Servicers(standard_interceptors(Users(), Services()))
    servicer = StateServicer(manager, watches, Idempotency(ledger, lambda: datetime.now(UTC)))
    servicers.register(add_StateServiceServicer_to_server, servicer)
    server = LocalServer(servicers)
    await server.start()
    yield StateServiceStub(LocalChannel(server))
    await server.stop()


@pytest.fixture
async def stub(manager, watches):
    """Give the stub to the manager's namespaces."""
    async with serving(manager, watches, MemoryIdempotencyLedger()) as stub:
        yield stub


async def test_a_read_that_is_given_up_ends_at_once(stub, manager, monkeypatch):
    """Whatever the store does about it: the batch that it was in goes on for the others."""
    gate, read, begun = asyncio.Event(), MemoryStateStore.read, []

    async def slow_read(self, keys):
        begun.append(keys)
        while not gate.is_set():  # as a database does that hears of no cancellation
            with suppress(asyncio.CancelledError):
                await gate.wait()
        return await read(self, keys)

    await stub.PutState(pb.PutStateRequest(namespace=NOTES.name, key="a", data=TOTAL), metadata=by("ada"))
    monkeypatch.setattr(MemoryStateStore, "read", slow_read)
    asked = pb.GetStateRequest(keys=[pb.StateKey(namespace=NOTES.name, key="a")])
    given_up = asyncio.ensure_future(stub.GetState(asked, metadata=by("ada")))
    others = asyncio.ensure_future(stub.GetState(asked, metadata=by("ada")))
    await until(lambda: begun)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    gate.set()
    assert [found.key for found in (await others).states] == ["a"]


@asynccontextmanager
async def refused(code):
    """Expect an error of this code; gives a dictionary that then holds its details by type."""
    details = {}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield details
    assert caught.value.code() is code
    status = status_pb2.Status.FromString(caught.value.trailing_metadata()["grpc-status-details-bin"])
    assert (status.code, status.message) == (code.value[0], caught.value.details())
    details["message"] = status.message
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if packed.Unpack(message):
                details[kind.DESCRIPTOR.name] = message


async def place(stub, key="1"):
    """Create an order as a handler does."""
    request = pb.PutStateRequest(namespace="orders", key=key, data=TOTAL, expected_version=0)
    return (await stub.PutState(request, metadata=HANDLER)).state


async def test_an_order_from_beginning_to_end(stub, grants):
    """Create, patch, pay, read, list, history, delete: every method, with the message as declared."""
    grants.by_subject["ada"] = {"orders:admin"}
    placed = await place(stub)
    assert (placed.namespace, placed.key, placed.version, placed.status, placed.owner) == ("orders", "1", 1, "pending", "ada")
    assert placed.data == TOTAL
    assert placed.created_at == placed.updated_at

    patch = pb.PatchStateRequest(namespace="orders", key="1", patch=b'{"note": "x"}', expected_version=1)
    patched = (await stub.PatchState(patch, metadata=HANDLER)).state
    assert (patched.version, b"9007199254740993" in patched.data) == (2, True)

    pay = pb.TransitionStateRequest(namespace="orders", key="1", event="pay")
    assert (await stub.TransitionState(pay, metadata=by("ada"))).state.status == "paid"

    keys = [pb.StateKey(namespace="orders", key="1"), pb.StateKey(namespace="orders", key="no")]
    (read,) = (await stub.GetState(pb.GetStateRequest(keys=keys), metadata=by("ada"))).states
    listed = await stub.ListStates(pb.ListStatesRequest(namespace="orders", page_size=1), metadata=by("ada"))
    assert (list(listed.states), listed.next_page_token) == ([read], "")

    history = await stub.ListHistory(pb.ListHistoryRequest(namespace="orders", key="1", page_size=2), metadata=by("ada"))
    assert [(e.version, e.change, e.event, e.from_status, e.to_status, e.actor) for e in history.entries] == [
        (3, "transitioned", "pay", "pending", "paid", "ada"),
        (2, "updated", "", "pending", "pending", "ada"),
    ]
    more = pb.ListHistoryRequest(namespace="orders", key="1", page_size=2, page_token=history.next_page_token)
    (first,) = (await stub.ListHistory(more, metadata=by("ada"))).entries
    assert (first.version, first.data, len(first.event_id)) == (1, TOTAL, 36)

    gone = await stub.DeleteState(pb.DeleteStateRequest(namespace="orders", key="1", expected_version=3), metadata=by("ada"))
    assert gone.version == 4
    assert not (await stub.GetState(pb.GetStateRequest(keys=keys), metadata=by("ada"))).states


async def test_a_conflict_carries_both_versions(stub):
    """ABORTED with reason, domain and metadata."""
    await place(stub)
    async with refused(grpc.StatusCode.ABORTED) as details:
        await place(stub)
    info = details["ErrorInfo"]
    assert (info.reason, info.domain) == ("STATE_VERSION_CONFLICT", "stylobate.state")
    assert dict(info.metadata) == {"expected": "0", "actual": "1"}


async def test_an_illegal_transition_carries_the_allowed(stub):
    """FAILED_PRECONDITION with the status, the event and what is possible."""
    await place(stub)
    ship = pb.TransitionStateRequest(namespace="orders", key="1", event="pay", expected_version=1)
    await stub.TransitionState(ship, metadata=by("ada"))
    async with refused(grpc.StatusCode.FAILED_PRECONDITION) as details:
        ship.expected_version = 2
        await stub.TransitionState(ship, metadata=by("ada"))
    assert details["ErrorInfo"].reason == "STATE_TRANSITION_NOT_ALLOWED"
    assert dict(details["ErrorInfo"].metadata) == {"status": "paid", "event": "pay", "allowed": "ship,cancel"}
    assert "ship, cancel" in details["message"]


async def test_invalid_data_carries_every_finding(stub):
    """INVALID_ARGUMENT with a field violation per finding; a status that is not the present one is FAILED_PRECONDITION."""
    request = pb.PutStateRequest(namespace="orders", key="1", data=b'{"total": "x"}')
    async with refused(grpc.StatusCode.INVALID_ARGUMENT) as details:
        await stub.PutState(request, metadata=HANDLER)
    assert details["ErrorInfo"].reason == "STATE_DATA_INVALID"
    assert [violation.field for violation in details["BadRequest"].field_violations] == ["/total"]
    async with refused(grpc.StatusCode.FAILED_PRECONDITION) as details:
        await stub.PutState(pb.PutStateRequest(namespace="orders", key="1", data=TOTAL, status="paid"), metadata=HANDLER)
    assert details["ErrorInfo"].reason == "STATE_STATUS_NOT_WRITABLE"


async def test_who_calls_decides(stub):
    """No token, a bad token, another's token, the owner's without the handler: each gets its own answer."""
    await place(stub)
    read = pb.GetStateRequest(keys=[pb.StateKey(namespace="orders", key="1")])
    async with refused(grpc.StatusCode.UNAUTHENTICATED):
        await stub.GetState(read)
    async with refused(grpc.StatusCode.UNAUTHENTICATED) as details:
        await stub.GetState(read, metadata=by("eve"))
    assert details["ErrorInfo"].reason == "TOKEN_INVALID"
    assert not (await stub.GetState(read, metadata=by("bob"))).states
    write = pb.PutStateRequest(namespace="orders", key="1", data=TOTAL)
    for through in ("", "gateway"):
        async with refused(grpc.StatusCode.PERMISSION_DENIED):
            await stub.PutState(write, metadata=by("ada", through))
    assert (await stub.GetState(read, metadata=by("ada"))).states[0].version == 1


async def test_a_service_acts_for_its_subject(stub):
    """A handler that runs without the caller's token creates and changes in the name of whom it acts for."""
    metadata = (("stylobate-service-token", "actions"), ("stylobate-act-for", "bob"))
    request = pb.PutStateRequest(namespace="orders", key="1", data=TOTAL)
    assert (await stub.PutState(request, metadata=metadata)).state.owner == "bob"
    pay = pb.TransitionStateRequest(namespace="orders", key="1", event="pay")
    assert (await stub.TransitionState(pay, metadata=by("bob"))).state.status == "paid"


async def test_absence_is_told(stub):
    """NOT_FOUND, with different reasons for object, event and namespace."""
    for request, reason in (
        (pb.TransitionStateRequest(namespace="orders", key="no", event="pay"), "STATE_NOT_FOUND"),
        (pb.TransitionStateRequest(namespace="orders", key="no", event="fly"), "STATE_EVENT_UNKNOWN"),
        (pb.TransitionStateRequest(namespace="elsewhere", key="no", event="pay"), "STATE_NAMESPACE_UNKNOWN"),
    ):
        async with refused(grpc.StatusCode.NOT_FOUND) as details:
            await stub.TransitionState(request, metadata=by("ada"))
        assert details["ErrorInfo"].reason == reason


async def test_an_answer_that_comes_again_shows_what_its_caller_may_see_now(environment, grants, watches):
    """The ledger keeps the answer whole; each reader of it sees their own part, also when rights went meanwhile."""
    declared = replace(NOTES, fields=(FieldDeclaration("secret", AccessRule(("notes:all",))),))
    grants.by_subject["ada"] = {"notes:all"}
    ledger = MemoryIdempotencyLedger()
    kept = replace(environment, store=MemoryStateStore(environment.clock, None, ledger))
    opened = StateManager.open({"notes": declared}, kept, max_data_bytes=1000)
    async with opened as manager, serving(manager, watches, ledger) as stub:
        change = pb.PutStateRequest(namespace="notes", key="1", data=b'{"secret": 1, "a": 2}', idempotency_key="k")
        put = pb.StateOperation(namespace="notes", key="2", put=pb.PutOperation(data=change.data))
        both = pb.TransactStatesRequest(operations=[put], idempotency_key="k")
        for may, seen in ((True, {"secret": 1, "a": 2}), (False, {"a": 2})):
            if not may:
                grants.by_subject.clear()
            one = await stub.PutState(change, metadata=by("ada"))
            assert (loads(one.state.data), one.replayed) == (seen, not may)
            several = await stub.TransactStates(both, metadata=by("ada"))
            assert (loads(several.results[0].state.data), several.replayed) == (seen, not may)
