"""Between the messages of ``stylobate.api.state.v1`` and the model."""

from stylobate.api.state.v1.state_service_pb2 import HistoryEntry as HistoryEntryMessage
from stylobate.api.state.v1.state_service_pb2 import State

from stylobate_state.model import HistoryEntry, StateRecord


def to_state(state: StateRecord) -> State:
    """Return the message for a living object."""
    message = State(
        namespace=state.key.namespace,
        key=state.key.key,
        version=state.version,
        status=state.status,
        data=state.data,
        owner=state.owner,
    )
    message.created_at.FromDatetime(state.created_at)
    message.updated_at.FromDatetime(state.updated_at)
    return message


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
    )
    message.time.FromDatetime(entry.time)
    return message
