"""A change on its way: who asks for what, what that makes of the object, and the write that it becomes."""

from collections.abc import Callable
from typing import NamedTuple

from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.errors import InvalidInputError, Violation
from stylobate.idempotency import Claim
from stylobate.identity import Principal
from stylobate.identity.resources import state_object
from stylobate.made_often import made_often
from stylobate.rpc.call import Cause

from stylobate_state.guards import Asking
from stylobate_state.model import Change, StateKey, StateRecord, Write
from stylobate_state.namespace import Namespace
from stylobate_state.operation import ChangeDraft, Operation

_ENTERS = (Change.TRANSITIONED, Change.CREATED)
"""What enters a status; all else stays in the one that there is."""


@made_often
class ChangeRequest:
    """An operation, who asks for it, and on what."""

    principal: Principal
    cause: Cause
    namespace: Namespace
    key: StateKey
    operation: Operation
    expected: int | None
    """The version it must have; 0: it must not exist; None: any, tried again while others are faster."""
    claim: Claim | None = None
    """The idempotency key that it came with."""

    @property
    def takes_turns(self) -> bool:
        """Whether it is tried again from what was read when others are faster."""
        if self.expected is not None:
            return False
        if self.operation.builds_on_present:
            return True
        return not self.namespace.is_plain and (bool(self.namespace.before) or self.namespace.fields.is_any)

    @property
    def may_guess(self) -> bool:
        """Whether it may begin with the object as this process wrote it last.

        Not where a wrong guess costs more than a statement, or the data says less than it did: a hook would be asked twice, and
        ciphertext may have been exchanged in its place.
        """
        return self.operation.may_guess and not self.namespace.before and not self.namespace.encrypted

    def check(self) -> None:
        """Raise InvalidInputError for a version that none can have."""
        if self.expected is not None and self.expected < 0:
            raise InvalidInputError(violations=[Violation("/expected_version", "must not be negative")])


class Decided(NamedTuple):
    """What an operation makes of what was read."""

    draft: ChangeDraft
    live: StateRecord | None
    """What was read, upgraded where the operation builds on it."""
    builds_on_present: bool
    """Whether it holds for that version only."""
    data: bytes
    """That which was read, as it is stored."""
    opened: bytes
    """The same with its encrypted fields opened, as :attr:`live` had it before it was upgraded."""


def write_at_once(
    request: ChangeRequest, seen: StateRecord, access: AccessEvaluator, asking: Asking, new_id: Callable[[], str]
) -> Write | None:
    """Return what an operation writes to an object, where nobody need be asked and nothing is in the way; None: see ``decide``.

    Most changes are such: this is what they cost, without a step that could wait. What is refused by the rules of the operation,
    once access was decided, is refused here as there.
    """
    namespace, operation, expected = request.namespace, request.operation, request.expected
    if not (namespace.is_plain and operation.may_guess):
        return None
    if seen.is_deleted or seen.schema_version != namespace.schema_version or (expected is not None and expected != seen.version):
        return None
    resource = state_object(namespace.name, request.key.key)
    if not access.decided(operation.rule(namespace, seen), request.principal, seen.owner, resource):
        return None
    if operation.assigns is not None or operation.beyond(namespace, seen):
        return None
    draft = operation.draft(namespace, seen, asking)
    data = draft.data
    keeps_data = data is seen.data
    if not keeps_data:
        namespace.check(data)
    is_exact = expected is not None or operation.builds_on_present
    return write_of(request, seen, draft, data, new_id(), is_exact=is_exact, keeps_data=keeps_data)


def write_of(
    request: ChangeRequest,
    live: StateRecord | None,
    draft: ChangeDraft,
    data: bytes,
    event_id: str,
    *,
    is_exact: bool,
    keeps_data: bool,
) -> Write:
    """Return the write that a change becomes.

    :param live: what was read. :param draft: what was decided, or what a hook made of it. :param data: its data, as it is to be
        stored. :param is_exact: whether it holds for the version that was read alone. :param keeps_data: whether the data is
        what was read.
    """
    namespace, principal, cause, change = request.namespace, request.principal, request.cause, draft.change
    enters = change in _ENTERS
    seen = live if is_exact else None
    version = live.version if live is not None else 0
    return Write(  # by position, in the order of its fields: with their names it takes four times as long, at each write
        request.key,
        change,
        version if is_exact else None,
        live.owner if live is not None and draft.owner is None else owner_after(request, draft, live),
        draft.status if enters else None,
        data,
        principal.subject,
        event_id,
        draft.event,
        draft.from_status,
        cause.event_depth() if cause.hook_depth else 0,
        cause.traceparent,
        0,  # group
        request.claim,
        draft.restored_from,
        namespace.timers.get(draft.status, ()) if enters else (),
        namespace.schema_version,
        namespace.beside(cause, principal),
        keeps_data and seen is not None,
        seen,
    )


def owner_after(request: ChangeRequest, draft: ChangeDraft, live: StateRecord | None) -> str:
    """Return whose the object is after the change."""
    if draft.owner is not None:
        return draft.owner
    return live.owner if live is not None else request.principal.subject
