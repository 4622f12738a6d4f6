"""The operations of a transaction as JSON has them, in the body of a request and in the list that a handler gives.

The dictionaries are the types of what authors write; the structures hold what came to its shape. Payloads pass as the bytes
they came in.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.errors import InvalidInputError, Violation
from stylobate.modules.payload import encode

T = TypeVar("T")

OlderVersion = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class _Object(TypedDict):
    """Which object, and the version it must have; 0: it must not exist yet; None, or left out: any."""

    namespace: str
    key: str
    if_version: NotRequired[int | None]


class PutOperation(_Object):
    """Create the object, for another owner where one is given, or replace its data."""

    op: Literal["put"]
    data: Any
    status: NotRequired[str | None]
    owner: NotRequired[str | None]


class PatchOperation(_Object):
    """Merge into the data (RFC 7396: None removes a member)."""

    op: Literal["patch"]
    data: Any


class DeleteOperation(_Object):
    """Remove the object; its history stays."""

    op: Literal["delete"]


class RestoreOperation(_Object):
    """Make the data of an older version that of a new one; of an object that was deleted, undo that."""

    op: Literal["restore"]
    version: int


class TransitionOperation(_Object):
    """Fire an event of the namespace's machine, merging ``data`` (RFC 7396) into the object's data."""

    op: Literal["transition"]
    event: str
    data: NotRequired[Any]


class AssignOperation(_Object):
    """Hand the object over."""

    op: Literal["assign"]
    owner: str


Operation = PutOperation | PatchOperation | DeleteOperation | RestoreOperation | TransitionOperation | AssignOperation
"""One change of a transaction, as ``POST /v1/state/transactions`` takes it."""


class OperationBody(Struct, forbid_unknown_fields=True, tag_field="op", kw_only=True):
    """``{op, namespace, key, if_version?}`` and what the operation takes."""

    namespace: str
    key: str
    if_version: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None

    def message(self) -> pb.StateOperation:
        """Return the operation as the state service takes it."""
        return pb.StateOperation(namespace=self.namespace, key=self.key, expected_version=self.if_version, **self.told())

    @abstractmethod
    def told(self) -> dict[str, Any]:
        """Return the operation itself, under its name."""


class PutBody(OperationBody, tag="put"):
    """``data``, ``status`` as it is, and ``owner`` where it is to be another's than the caller's."""

    data: Raw
    status: str | None = None
    owner: str | None = None

    def told(self) -> dict[str, Any]:
        """Create it or replace its data."""
        return {"put": pb.PutOperation(data=bytes(self.data), status=self.status, owner=self.owner)}


class PatchBody(OperationBody, tag="patch"):
    """``data`` to merge (RFC 7396)."""

    data: Raw

    def told(self) -> dict[str, Any]:
        """Merge into its data."""
        return {"patch": pb.PatchOperation(patch=bytes(self.data))}


class DeleteBody(OperationBody, tag="delete"):
    """Nothing more."""

    def told(self) -> dict[str, Any]:
        """Remove it."""
        return {"delete": pb.DeleteOperation()}


class RestoreBody(OperationBody, tag="restore"):
    """``version``, whose data to bring back."""

    version: OlderVersion

    def told(self) -> dict[str, Any]:
        """Bring it back."""
        return {"restore": pb.RestoreOperation(version=self.version)}


class TransitionBody(OperationBody, tag="transition"):
    """``event``, and ``data`` to merge (RFC 7396)."""

    event: str
    data: Raw = Raw(b"")

    def told(self) -> dict[str, Any]:
        """Fire the event."""
        return {"transition": pb.TransitionOperation(event=self.event, patch=bytes(self.data))}


class AssignBody(OperationBody, tag="assign"):
    """``owner``."""

    owner: str

    def told(self) -> dict[str, Any]:
        """Hand it over."""
        return {"assign": pb.AssignOperation(owner=self.owner)}


class TransactionBody(Struct, forbid_unknown_fields=True):
    """``{operations}``."""

    operations: list[PutBody | PatchBody | DeleteBody | RestoreBody | TransitionBody | AssignBody]


_TRANSACTION = msgspec.json.Decoder(TransactionBody)


def parse_transaction(body: bytes) -> TransactionBody:
    """Return the body of a transaction, which is JSON. Raises InvalidInputError."""
    return parse(_TRANSACTION, body)


def messages(operations: Sequence[Operation]) -> list[pb.StateOperation]:
    """Return the operations of a handler as the state service takes them.

    :raises InvalidInputError: one is none, with its place as over HTTP: ``/operations/1/op``.
    :raises TypeError: one holds what has no JSON form.
    """
    given = {"operations": operations}
    try:
        return [operation.message() for operation in parse_transaction(encode(given)).operations]
    except InvalidInputError as error:
        error.sent = {"data": given}
        raise


def parse(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return what the decoder makes of a body, which is JSON. Raises InvalidInputError with the place."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        pointer = path.rstrip("`").replace(".", "/").replace("[", "/").replace("]", "")
        raise InvalidInputError(violations=[Violation(pointer, message)]) from None
