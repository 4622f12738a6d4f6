"""Between the messages of ``stylobate.api.state.v1`` and the model."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from stylobate.api.state.v1.state_keeping_service_pb2 import CarriedState, ImportRefusal, StateFinding
from stylobate.api.state.v1.state_service_pb2 import (
    CONSISTENCY_CACHED,
    ListHistoryRequest,
    ListStatesRequest,
    OperationResult,
    PutOperation,
    PutStateRequest,
    State,
    StateChange,
    StateFilter,
    StateOperation,
    WatchGap,
    WatchSnapshot,
    WatchStatesResponse,
)
from stylobate.api.state.v1.state_service_pb2 import CacheUse as CacheUseMessage
from stylobate.api.state.v1.state_service_pb2 import HistoryEntry as HistoryEntryMessage
from stylobate.errors import InvalidInputError, Violation

from stylobate_state.filters import Filter
from stylobate_state.history_reader import HistoryRequest
from stylobate_state.model import HistoryEntry, StateRecord
from stylobate_state.operation import Assign, Delete, Operation, Patch, Put, Restore, Transition
from stylobate_state.state_cache import CacheUse
from stylobate_state.state_keeper import Found
from stylobate_state.state_lister import ListRequest
from stylobate_state.state_manager import Asked
from stylobate_state.state_porter import Carried, Refusal
from stylobate_state.transaction import named
from stylobate_state.watch.told import GONE, Changed, Gap, Snapshot, Told

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S = 86_400


def from_filters(filters: Iterable[StateFilter]) -> list[Filter]:
    """Return the filters of a list or a watch."""
    return [Filter(item.field, item.operator, tuple(item.values)) for item in filters]


def from_list(request: ListStatesRequest) -> ListRequest:
    """Return what is to be listed."""
    return ListRequest(
        status=request.status,
        filters=from_filters(request.filters),
        sort=request.sort,
        size=request.page_size,
        token=request.page_token,
        count_up_to=request.count_up_to,
        may_lag=request.consistency == CONSISTENCY_CACHED,
    )


def from_history(request: ListHistoryRequest) -> HistoryRequest:
    """Return what of a history is to be listed."""
    return HistoryRequest(
        after_version=request.after_version,
        before_version=request.before_version,
        since=request.since,
        until=request.until,
        actor=request.actor,
        change=request.change,
        size=request.page_size,
        token=request.page_token,
    )


def to_state(state: StateRecord) -> State:
    """Return the message for a living object."""
    message = State(
        namespace=state.key.namespace,
        key=state.key.key,
        version=state.version,
        status=state.status,
        data=state.data,
        owner=state.owner,
        schema_version=state.schema_version if state.is_other_schema else 0,
    )
    _to_time(message.created_at, state.created_at)
    _to_time(message.updated_at, state.updated_at)
    for timer in state.timers:
        if timer.at is not None:
            _to_time(message.timers.add(event=timer.event).at, timer.at)
    return message


def _to_time(stamp: Timestamp, time: datetime) -> None:
    """Fill in a time, as ``FromDatetime`` does, at a fifth of its cost: every read has two."""
    since = time - _EPOCH
    stamp.seconds, stamp.nanos = since.days * _DAY_S + since.seconds, since.microseconds * 1000


def to_cache_use(use: CacheUse) -> CacheUseMessage:
    """Return the message for how a read of copies was answered."""
    message = CacheUseMessage(hits=use.hits, misses=use.misses)
    if use.stale_s:
        message.stale.FromTimedelta(timedelta(seconds=use.stale_s))
    return message


def to_result(state: StateRecord) -> OperationResult:
    """Return the message for what an operation of a transaction made."""
    return OperationResult(state=to_state(state), is_deleted=state.is_deleted)


def to_operations(messages: Iterable[StateOperation]) -> list[Asked]:
    """Return what the operations of a transaction ask for. Raises InvalidInputError where one does not say."""
    asked = []
    for index, one in enumerate(messages):
        with named(index):
            expected = one.expected_version if one.HasField("expected_version") else None
            asked.append(Asked(one.namespace, one.key, _to_operation(one), expected))
    return asked


def to_put(message: PutStateRequest | PutOperation) -> Put:
    """Return what a PUT asks for, by itself or in a transaction."""
    status = message.status if message.HasField("status") else None
    return Put(message.data, status, message.owner if message.HasField("owner") else None)


def _to_operation(message: StateOperation) -> Operation:
    match message.WhichOneof("operation"):
        case "put":
            return to_put(message.put)
        case "patch":
            return Patch(message.patch.patch)
        case "delete":
            return Delete()
        case "transition":
            return Transition(message.transition.event, message.transition.patch)
        case "restore":
            return Restore(message.restore.version)
        case "assign":
            return Assign(message.assign.owner)
        case _:
            raise InvalidInputError(violations=[Violation("/operation", "is not said")])


def to_history_entry(entry: HistoryEntry) -> HistoryEntryMessage:
    """Return the message for what happened at one version."""
    message = HistoryEntryMessage(
        version=entry.version,
        change=entry.change.value,
        event=entry.event,
        from_status=entry.from_status,
        to_status=entry.to_status,
        data=entry.data,
        actor=entry.actor,
        event_id=entry.event_id,
        restored_from=entry.restored_from,
        schema_version=entry.schema_version,
        is_forgotten=entry.is_forgotten,
        owner=entry.owner,
        previous_owner=entry.previous_owner,
    )
    _to_time(message.time, entry.time)
    return message


def to_finding(found: Found) -> StateFinding:
    """Return the message for something about an object."""
    return StateFinding(
        tenant=found.key.tenant,
        key=found.key.key,
        version=found.version,
        schema_version=found.schema_version,
        problem=found.problem,
    )


def to_carried(state: StateRecord) -> CarriedState:
    """Return the message for an object that is given out."""
    return CarriedState(
        tenant=state.key.tenant,
        key=state.key.key,
        data=state.data,
        status=state.status,
        owner=state.owner,
        schema_version=state.schema_version,
    )


def from_carried(message: CarriedState) -> Carried:
    """Return an object that is to be taken in."""
    return Carried(message.tenant, message.key, message.data, message.status, message.owner, message.schema_version)


def to_refusal(refusal: Refusal) -> ImportRefusal:
    """Return the message for what was not taken in."""
    return ImportRefusal(index=refusal.index, reason=refusal.error.reason, detail=refusal.error.detail)


def to_watched(told: Told) -> WatchStatesResponse:
    """Return the message for what a watch tells."""
    position, what = told
    match what:
        case Snapshot(states, part, is_complete):
            snapshot = WatchSnapshot(states=map(to_state, states), part=part, complete=is_complete)
            return WatchStatesResponse(position=position, snapshot=snapshot)
        case Changed(key, version, entry):
            told_entry = HistoryEntryMessage(version=version, change=GONE) if entry is None else to_history_entry(entry)
            return WatchStatesResponse(
                position=position, change=StateChange(namespace=key.namespace, key=key.key, entry=told_entry)
            )
        case Gap(reason):
            return WatchStatesResponse(position=position, gap=WatchGap(reason=reason))
        case None:
            return WatchStatesResponse(position=position)
