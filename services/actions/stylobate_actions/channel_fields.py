"""What of a state event goes into a channel that follows its object: no field that some of those who hear it may not see."""

from collections.abc import Awaitable, Callable

import msgspec
from stylobate.clients.realtime import Send
from stylobate.declarations import Declarations
from stylobate.declarations.indexes import path_of
from stylobate.declarations.model import NamespaceDeclaration
from stylobate.declarations.rules import uncovered
from stylobate.json_members import Path, find, is_object, with_value, without

_STATE = "state:"
_DATA: tuple[Path, ...] = (("data",), ("before", "data"), ("delta",))
"""Where an event, or an object, holds data, or a patch of it."""
Publish = Callable[[str, bytes, Send | None], Awaitable[None]]


class ChannelFields:
    """Stands before a Publisher. Who may read an object hears its channel, so what is not for all of these stays out of it.

    Only what is a state event or an object by its form is looked into: other payloads are the module's own words.
    """

    def __init__(self, declarations: Declarations, publish: Publish) -> None:
        self._publish = publish
        self._hidden: dict[str, tuple[str, tuple[Path, ...]]] = {}
        namespaces = declarations.namespaces
        for channel in declarations.channels.values():
            followed = namespaces.get(channel.subscribe.removeprefix(_STATE)) if channel.subscribe.startswith(_STATE) else None
            if followed is not None and (hidden := _hidden(followed)):
                self._hidden[channel.name] = followed.name, hidden

    async def publish(self, channel: str, payload: bytes, send: Send | None = None) -> None:
        """See Publisher.publish."""
        found = self._hidden.get(channel.partition(":")[0] if ":" in channel else "")
        await self._publish(channel, payload if found is None else _covered(payload, *found), send)


def _hidden(namespace: NamespaceDeclaration) -> tuple[Path, ...]:
    """Return the fields that somebody who may read the object may not see, and those that are encrypted at rest.

    A channel keeps what it carries in Valkey for a while.
    """
    ruled = (field.name for field in namespace.fields if field.read is not None and uncovered(namespace.access.read, field.read))
    return tuple(path_of(name) for name in dict.fromkeys((*ruled, *namespace.encrypted)))


def _covered(payload: bytes, namespace: str, hidden: tuple[Path, ...]) -> bytes:
    if not is_object(payload):
        return payload
    of = find(payload, ("namespace",)).value
    if of is None or msgspec.json.decode(of) != namespace:
        return payload
    for place in _DATA:
        data = find(payload, place).value
        if data is not None and (left := without(data, hidden)) is not data:
            payload = with_value(payload, place, left)
    return payload
