"""The operations of a transaction, as they stand in its body. Payloads pass as the bytes they came in."""

from abc import abstractmethod
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct
from stylobate.api.state.v1.state_service_pb2 import (
    AssignOperation,
    DeleteOperation,
    PatchOperation,
    PutOperation,
    RestoreOperation,
    StateOperation,
    TransitionOperation,
)

from stylobate_gateway.schemas.state import OlderVersion, parse


class OperationBody(Struct, forbid_unknown_fields=True, tag_field="op", kw_only=True):
    """``{op, namespace, key, if_version?}`` and what the operation takes."""

    namespace: str
    key: str
    if_version: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None

    def message(self) -> StateOperation:
        """Return the operation as the state service takes it."""
        return StateOperation(namespace=self.namespace, key=self.key, expected_version=self.if_version, **self.told())

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
        return {"put": PutOperation(data=bytes(self.data), status=self.status, owner=self.owner)}


class PatchBody(OperationBody, tag="patch"):
    """``data`` to merge (RFC 7396)."""

    data: Raw

    def told(self) -> dict[str, Any]:
        """Merge into its data."""
        return {"patch": PatchOperation(patch=bytes(self.data))}


class DeleteBody(OperationBody, tag="delete"):
    """Nothing more."""

    def told(self) -> dict[str, Any]:
        """Remove it."""
        return {"delete": DeleteOperation()}


class RestoreBody(OperationBody, tag="restore"):
    """``version``, whose data to bring back."""

    version: OlderVersion

    def told(self) -> dict[str, Any]:
        """Bring it back."""
        return {"restore": RestoreOperation(version=self.version)}


class TransitionBody(OperationBody, tag="transition"):
    """``event``, and ``data`` to merge (RFC 7396)."""

    event: str
    data: Raw = Raw(b"")

    def told(self) -> dict[str, Any]:
        """Fire the event."""
        return {"transition": TransitionOperation(event=self.event, patch=bytes(self.data))}


class AssignBody(OperationBody, tag="assign"):
    """``owner``."""

    owner: str

    def told(self) -> dict[str, Any]:
        """Hand it over."""
        return {"assign": AssignOperation(owner=self.owner)}


class TransactionBody(Struct, forbid_unknown_fields=True):
    """``{operations}``."""

    operations: list[PutBody | PatchBody | DeleteBody | RestoreBody | TransitionBody | AssignBody]


_TRANSACTION = msgspec.json.Decoder(TransactionBody)


def parse_transaction(body: bytes) -> TransactionBody:
    """Return the body of a transaction, which is JSON. Raises InvalidInputError."""
    return parse(_TRANSACTION, body)
