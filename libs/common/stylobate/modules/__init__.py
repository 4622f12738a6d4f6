"""What module authors import: the base class, the contexts, ``action``, ``on``, state objects and errors to raise."""

from stylobate.errors import (
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    StylobateError,
    UnavailableError,
    Violation,
)
from stylobate.health import Health, Status
from stylobate.modules.actions import action
from stylobate.modules.base import BaseModule
from stylobate.modules.context import ActionContext, HookContext
from stylobate.modules.database import ModuleDatabase
from stylobate.modules.errors import RefusedError
from stylobate.modules.events import on
from stylobate.modules.operations import Operation
from stylobate.modules.state import StateChange, StateClient, StateObject
from stylobate.modules.transaction import Transaction
from stylobate.modules.users import User, UsersClient
from stylobate.modules.view import View
from stylobate.modules.watching import WatchEvent
from stylobate.outbox.event import Event

__all__ = [
    "ActionContext",
    "BaseModule",
    "Event",
    "Health",
    "HookContext",
    "InvalidInputError",
    "ModuleDatabase",
    "NotFoundError",
    "Operation",
    "PermissionDeniedError",
    "RefusedError",
    "StateChange",
    "StateClient",
    "StateObject",
    "Status",
    "StylobateError",
    "Transaction",
    "UnavailableError",
    "User",
    "UsersClient",
    "View",
    "Violation",
    "WatchEvent",
    "action",
    "on",
]
