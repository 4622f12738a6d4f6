"""Watches of state as handlers and tests see them: how things stand, then what happens."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import grpc.aio

from stylobate.api.state.v1 import state_service_pb2 as pb

if TYPE_CHECKING:
    from stylobate.modules.state import StateChange, StateObject


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One thing that a watch tells; the words are those of the HTTP stream."""

    kind: Literal["snapshot", "change", "gap"]
    """``snapshot``: a part of how things stand; ``change``: what happened; ``gap``: what was told counts no more, and a snapshot
    follows."""
    position: str
    """Where a later watch of the same goes on; empty before a snapshot is complete."""
    objects: "tuple[StateObject, ...]" = ()
    """Of a snapshot."""
    part: int = 0
    """Of a snapshot, from 1."""
    complete: bool = False
    """Whether it is the last part of the snapshot."""
    key: str = ""
    """Of a change."""
    change: "StateChange | None" = None
    """What happened; its ``change`` is ``gone`` where the object is not watched any more."""
    reason: str = ""
    """Of a gap."""


async def watch_events(
    stream: Any, object_of: "Callable[[pb.State], StateObject]", change_of: "Callable[[pb.HistoryEntry], StateChange]"
) -> AsyncGenerator[WatchEvent]:
    """Yield what a watch tells, signs of life left out; the watch ends with the loop.

    :param stream: of the responses. :param object_of: makes an object. :param change_of: makes what happened to one.
    """
    try:
        while (message := await stream.read()) is not grpc.aio.EOF:
            match message.WhichOneof("told"):
                case "snapshot":
                    told = message.snapshot
                    objects = tuple(object_of(state) for state in told.states)
                    yield WatchEvent("snapshot", message.position, objects, told.part, told.complete)
                case "change":
                    told = message.change
                    yield WatchEvent("change", message.position, key=told.key, change=change_of(told.entry))
                case "gap":
                    yield WatchEvent("gap", message.position, reason=message.gap.reason)
    finally:
        stream.cancel()
