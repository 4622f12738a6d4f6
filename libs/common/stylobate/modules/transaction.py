"""Changes of several state objects that happen together, as handlers write them down."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.modules.payload import encode

if TYPE_CHECKING:
    from stylobate.modules.state import StateObject


class Transaction:
    """Collects changes, which are sent when the block is left: every one happens, or none does.

    ::

        async with ctx.state.transaction() as change:
            change.transition("orders", order_id, "pay")
            change.patch("stock", "tea", {"left": left - 2}, expected_version=seen.version)
        order, stock = change.results

    An error inside the block, or a handler that runs out of time there, sends nothing. The methods take what those of
    ``ctx.state`` take, and wait for nothing.
    """

    def __init__(self) -> None:
        self.operations: list[pb.StateOperation] = []
        self.sent: list[Mapping[str, Any]] = []
        """What the handler gave for each, by parameter."""
        self.results: list[StateObject] = []
        """The objects as they stand after the block, in the order of the changes; one that was deleted with ``is_deleted``."""

    def put(self, namespace: str, key: str, data: Any, expected_version: int | None = None, *, owner: str | None = None) -> None:
        """Create the object, for another owner where one is given, or replace its data."""
        operation = pb.PutOperation(data=encode(data), owner=owner)
        self._add(namespace, key, expected_version, {"data": data, "owner": owner}, put=operation)

    def patch(self, namespace: str, key: str, data: Any, expected_version: int | None = None) -> None:
        """Merge into the data (RFC 7396: None removes a member)."""
        operation = pb.PatchOperation(patch=encode(data))
        self._add(namespace, key, expected_version, {"data": data}, patch=operation)

    def delete(self, namespace: str, key: str, expected_version: int | None = None) -> None:
        """Remove the object; its history stays."""
        self._add(namespace, key, expected_version, {}, delete=pb.DeleteOperation())

    def restore(self, namespace: str, key: str, version: int, expected_version: int | None = None) -> None:
        """Make the data of an older version that of a new one; of an object that was deleted, undo that."""
        self._add(namespace, key, expected_version, {"version": version}, restore=pb.RestoreOperation(version=version))

    def transition(self, namespace: str, key: str, event: str, data: Any = None, expected_version: int | None = None) -> None:
        """Fire an event of the namespace's machine, merging ``data`` (RFC 7396) into the object's data."""
        operation = pb.TransitionOperation(event=event, patch=b"" if data is None else encode(data))
        self._add(namespace, key, expected_version, {"event": event, "data": data}, transition=operation)

    def assign(self, namespace: str, key: str, owner: str, expected_version: int | None = None) -> None:
        """Hand the object over."""
        self._add(namespace, key, expected_version, {"owner": owner}, assign=pb.AssignOperation(owner=owner))

    def _add(self, namespace: str, key: str, expected: int | None, sent: Mapping[str, Any], **operation: Any) -> None:
        self.operations.append(pb.StateOperation(namespace=namespace, key=key, expected_version=expected, **operation))
        self.sent.append({"namespace": namespace, "key": key, **sent})
