"""An event: what it holds, its JSON form (CloudEvents 1.0), its partition."""

import zlib
from datetime import UTC, datetime
from typing import Any, Self

import msgspec
import orjson

from stylobate.identity.principal import DEFAULT_TENANT
from stylobate.ids import new_id
from stylobate.made_often import made_often
from stylobate.outbox.errors import EventInvalidError
from stylobate.rpc.call import NO_CAUSE, Cause

PARTITIONS = 16
"""How many partitions every log has. Fixed: positions and stored events depend on it."""


def partition_of(tenant: str, subject: str) -> int:
    """Return the partition of a subject, 0 to 15: every event of one subject lies in the same one."""
    return zlib.crc32(f"{tenant}\0{subject}".encode()) % PARTITIONS


class _Envelope(msgspec.Struct):
    """The JSON form as it arrives; unknown attributes are let through unread, as the standard asks."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    tenant: str = DEFAULT_TENANT
    actor: str = ""
    hookdepth: int = 0
    traceparent: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Form(msgspec.Struct):
    """The JSON form as it goes out. Half of what a dict costs: each event of each log goes through here."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    tenant: str
    actor: str
    hookdepth: int | msgspec.UnsetType
    traceparent: str | msgspec.UnsetType
    datacontenttype: str
    data: msgspec.Raw


_decoder = msgspec.json.Decoder(_Envelope)
_encode = msgspec.json.Encoder().encode


@made_often
class Event:
    """Something that happened. Its type is in the past tense with the domain first: ``state.orders.transitioned``."""

    id: str
    """UUIDv7. The same event always has the same id, however often it is delivered."""
    source: str
    """The service whose log it stands in."""
    type: str
    subject: str
    """What it happened to; events of one subject keep their order."""
    time: datetime
    """When, in UTC."""
    tenant: str
    data: bytes
    """The payload as JSON."""
    actor: str = ""
    """The subject that caused it; empty when nobody is known."""
    depth: int = 0
    """How many hooks it lies under: 1 for what a hook did, 2 for what a hook on that did. So circles are found."""
    traceparent: str = ""
    """The trace that it belongs to, where that is sampled; hooks go on with it."""
    aside: bytes = b""
    """What only the service that wrote it reads in its log, as JSON; empty: nothing. It does not go out with the event."""

    @classmethod
    def new(
        cls,
        type: str,  # noqa: A002  CloudEvents' own word
        subject: str,
        data: Any,
        *,
        source: str = "",
        tenant: str = DEFAULT_TENANT,
        actor: str = "",
        cause: Cause = NO_CAUSE,
    ) -> Self:
        """Make an event that happens now.

        :param data: anything that JSON can hold.
        :param source: may stay empty: the outbox fills in its own.
        :raises TypeError: data that JSON cannot hold.
        :param cause: of the call that makes it.
        :raises HookRecursionError: under hooks that set off each other; see :meth:`stylobate.rpc.call.Cause.event_depth`.
        """
        depth, payload = cause.event_depth(), orjson.dumps(data)
        return cls(new_id(), source, type, subject, datetime.now(UTC), tenant, payload, actor, depth, cause.traceparent)

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read the JSON form. Raises EventInvalidError."""
        try:
            envelope = _decoder.decode(text)
        except msgspec.MsgspecError as error:
            raise EventInvalidError(f"This is not an event in CloudEvents 1.0 JSON: {error}.") from error
        if envelope.specversion != "1.0" or envelope.time.tzinfo is None:
            raise EventInvalidError
        return cls(
            envelope.id,
            envelope.source,
            envelope.type,
            envelope.subject,
            envelope.time.astimezone(UTC),
            envelope.tenant,
            bytes(envelope.data),
            envelope.actor,
            envelope.hookdepth,
            envelope.traceparent,
        )

    def json(self) -> bytes:
        """Return the JSON form: CloudEvents 1.0, structured mode, with the extensions of docs/reference/events.md."""
        return _encode(
            _Form(
                "1.0",
                self.id,
                self.source,
                self.type,
                self.subject,
                self.time,
                self.tenant,
                self.actor,
                self.depth or msgspec.UNSET,
                self.traceparent or msgspec.UNSET,
                "application/json",
                msgspec.Raw(self.data),
            )
        )

    def value(self) -> Any:
        """Return the payload as Python objects, decoded anew at each call."""
        return orjson.loads(self.data)

    @property
    def partition(self) -> int:
        """The partition that it lies in."""
        return partition_of(self.tenant, self.subject)


@made_often
class LoggedEvent:
    """An event with its place in the log."""

    event: Event
    partition: int
    number: int
    """From 1 in each partition, without gaps."""
