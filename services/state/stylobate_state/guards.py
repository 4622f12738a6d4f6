"""Asking the guard of a transition: what it sees, and what becomes of a no."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from stylobate.declarations.guard import Guard, GuardRaisedError
from stylobate.identity import Principal
from stylobate.made_often import made_often
from stylobate.strict_json import loads

from stylobate_state.errors import StateGuardFailedError, StateGuardRefusedError
from stylobate_state.model import StateRecord


@made_often
class Asking:
    """Who asks for a change, and by which clock."""

    principal: Principal
    clock: Callable[[], datetime]
    """Gives the time, which few guards look at."""


def require_guard(guard: Guard, present: StateRecord, event: str, carried: Any, asking: Asking) -> None:
    """Return when the guard lets the event happen to the object as it stands, before the event changes anything.

    :param carried: the merge patch that comes with the event, as JSON value; an empty object where none does.
    :raises StateGuardRefusedError: it says no. :raises StateGuardFailedError: it says nothing.
    """
    principal = asking.principal
    values = {
        "data": loads(present.data),
        "event.name": event,
        "event.data": carried,
        "principal.subject": principal.subject,
        "principal.kind": principal.kind.value,
        "principal.tenant": principal.tenant,
        "principal.via": principal.via,
        "principal.module": principal.module,
        "object.key": present.key.key,
        "object.status": present.status,
        "object.version": present.version,
        "object.owner": present.owner,
        "object.created_at": present.created_at,
        "object.updated_at": present.updated_at,
        "now": asking.clock(),
    }
    try:
        holds = guard.holds(values)
    except GuardRaisedError as error:
        raise StateGuardFailedError(event=event, status=present.status, guard=guard.text, fault=str(error)) from None
    if not holds:
        raise StateGuardRefusedError(event=event, status=present.status, guard=guard.text)
