"""The path of an action: find, permission, limit, validate, run, validate, audit, reply. In that order, for every caller."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

from stylobate.clients.limits import LIMIT
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import ActionDeclaration
from stylobate.errors import CancelledCallError, MalformedJsonError, StylobateError, UnsupportedMediaTypeError
from stylobate.identity import limit_key
from stylobate.logs import get_logger
from stylobate.modules.binding import BoundAction
from stylobate.modules.containment import told
from stylobate.modules.context import ActionContext, Platform
from stylobate.modules.errors import ActionFailedError, ActionInputInvalidError
from stylobate.modules.payload import JSON, decode
from stylobate.rpc.call import Call
from stylobate.telemetry import histogram

from stylobate_actions.audit import ActionTrail
from stylobate_actions.blame import is_defect, placed
from stylobate_actions.errors import ActionNotFoundError, ActionRecursionError, ActionTimeoutError, ActionUnavailableError
from stylobate_actions.limits import ActionLimits
from stylobate_actions.model import ActionReply
from stylobate_actions.runner import OverdueError, Runner

MAX_DEPTH = 8
"""How many actions may call each other."""
_ANONYMOUS = "anonymous"
_OK = "OK"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_log = get_logger("app")


class ActionManager:
    """Runs actions and lists them."""

    def __init__(
        self,
        actions: Iterable[BoundAction],
        unavailable: Iterable[str],
        *,
        left_out: Iterable[ActionDeclaration] = (),
        access: AccessEvaluator,
        limits: ActionLimits | None,
        runner: Runner,
        audit: ActionTrail | None,
        loop: asyncio.AbstractEventLoop,
        tells_defects: bool = False,
    ) -> None:
        """Take the actions that run, and the names of modules that do not.

        :param left_out: actions of those modules, as far as they are known.
        :param limits: None: limits of actions are not counted. :param audit: None: calls are not written down.
        :param tells_defects: whether the answer to a call that failed says what was raised; for development.
        """
        self._entries: dict[str, _Entry] = {action.name: _Entry(action) for action in actions}
        self._unavailable = frozenset(unavailable)
        self.left_out = {action.name: action for action in left_out if action.name not in self._entries}
        """Actions that are declared and do not run, by name."""
        self._access = access
        self._limits = limits
        self._runner = runner
        self._audit = audit
        self._loop = loop
        self._tells_defects = tells_defects
        self._platform: Platform | None = None

    @property
    def actions(self) -> Mapping[str, BoundAction]:
        """Every action that runs, in the order of the names."""
        return {name: self._entries[name].action for name in sorted(self._entries)}

    def connect(self, platform: Platform) -> None:
        """Give handlers what their contexts stand on; it needs this manager in turn, for ``ctx.call``."""
        self._platform = platform

    def get(self, name: str) -> BoundAction:
        """Return the action of exactly this name. Raises ActionNotFoundError or ActionUnavailableError."""
        return self._entry(name).action

    async def execute(self, name: str, payload: bytes, caller: Call, *, content_type: str = JSON, depth: int = 0) -> ActionReply:
        """Run the action for the caller.

        :param payload: the input as JSON; nothing stands for ``null``.
        :param depth: how many actions called each other before this one.
        :raises StylobateError: ACTION_NOT_FOUND, UNAUTHENTICATED, PERMISSION_DENIED, RATE_LIMITED,
            UNSUPPORTED_MEDIA_TYPE, MALFORMED_JSON, ACTION_INPUT_INVALID, ACTION_TIMEOUT, ACTION_FAILED,
            ACTION_RECURSION, or the typed error that the handler let through, unchanged.
        """
        entry = self._entry(name)
        started = self._loop.time()
        try:
            reply = await self._execute(_Request(entry, payload, content_type, caller, depth, started))
        except StylobateError as error:
            await self._ended(entry, started, caller, error)
            raise
        except asyncio.CancelledError:
            await self._ended(entry, started, caller, CancelledCallError())
            raise
        await self._ended(entry, started, caller, None)
        return reply

    async def call(self, action: str, payload: bytes, caller: Call, depth: int) -> bytes:
        """Run an action for another one (``ctx.call``)."""
        try:
            return (await self.execute(action, payload, caller, depth=depth)).output
        except (ActionNotFoundError, ActionInputInvalidError, ActionRecursionError) as error:
            error.sent = error.sent or {"action": action, "data": decode(payload)}
            raise

    async def _ended(self, entry: "_Entry", started: float, caller: Call, error: StylobateError | None) -> None:
        entry.observe(self._loop.time() - started, error.reason if error is not None else "")
        if self._audit is not None:
            await self._audit.note(entry.action.name, caller, error)

    def _entry(self, name: str) -> "_Entry":
        entry = self._entries.get(name)
        if entry is not None:
            return entry
        if name in self.left_out or name.partition(".")[0] in self._unavailable:
            raise ActionUnavailableError(metadata={"action": name}, retry_after=timedelta(seconds=30))
        raise ActionNotFoundError

    async def _execute(self, request: "_Request") -> ActionReply:
        entry, caller = request.entry, request.caller
        action, principal = entry.action, caller.principal
        await self._access.require(action.declaration.access, principal, f"call {action.name}")
        limit = action.declaration.rate_limit
        standing = None
        if limit is not None and self._limits is not None:
            standing = await self._limits.charge(action.name, limit, principal.tenant, _charged(caller))
        try:
            return ActionReply(await self._parsed_and_run(request), standing)
        except StylobateError as error:
            error.metadata = {key: value for key, value in error.metadata.items() if not key.startswith(LIMIT)}
            if standing is not None:
                error.metadata |= standing.metadata(LIMIT)
            raise

    async def _parsed_and_run(self, request: "_Request") -> bytes:
        action = request.entry.action
        if request.content_type != JSON:
            _check_content_type(request.content_type)
        try:
            value = action.parse(request.payload)
        except (ActionInputInvalidError, MalformedJsonError):
            raise
        except BaseException as error:  # the module's own types read the input too
            if isinstance(error, StylobateError) and not is_defect(error, request.payload):
                raise
            raise self._failed(request, error) from error
        if request.depth > MAX_DEPTH:
            raise ActionRecursionError(metadata={"action": action.name, "depth": str(request.depth)})
        return await self._run(request, value)

    async def _run(self, request: "_Request", value: Any) -> bytes:
        if self._platform is None:
            raise AssertionError("connect() comes before the first action")
        action = request.entry.action
        call = _bounded(request.caller, request.started + request.entry.timeout_s)
        context = ActionContext(self._platform, action.module, action.name, call, request.depth)
        try:
            output = await self._runner.run(action.name, call, action.run, context, value)
        except OverdueError:
            raise ActionTimeoutError(metadata={"action": action.name}) from None
        except Exception as error:
            if isinstance(error, StylobateError) and not is_defect(error, request.payload):
                error.violations = placed(error, request.payload)
                raise
            raise self._failed(request, error) from error
        try:
            return action.encode(output)
        except BaseException as error:  # the module's own types write the output too
            raise self._failed(request, error) from error

    def _failed(self, request: "_Request", error: BaseException) -> ActionFailedError:
        """Log the module's defect and return what its caller may know of it."""
        action, text = request.entry.action, told(error)
        if isinstance(error, StylobateError):
            text = f"{text} ({error.reason})"
        _log.error(
            "action_failed",
            module=action.module.name,
            action=action.name,
            request_id=request.caller.request_id,
            error=text,
            exc_info=error,
        )
        return ActionFailedError(metadata={"action": action.name} | ({"exception": text} if self._tells_defects else {}))


class _Entry:
    """An action with what a call of it needs, looked up once."""

    def __init__(self, action: BoundAction) -> None:
        self.action = action
        self.timeout_s = action.declaration.timeout.total_seconds()
        self._seconds = histogram(
            "actions_seconds", "Time of action calls by outcome, in seconds.", ("action", "outcome"), buckets=_BUCKETS
        )
        self._children = {"": self._seconds.labels(action.name, _OK)}

    def observe(self, seconds: float, reason: str) -> None:
        """Count a call. Reasons are those of error classes, so they are few."""
        child = self._children.get(reason)
        if child is None:
            child = self._children[reason] = self._seconds.labels(self.action.name, reason)
        child.observe(seconds)


class _Request(NamedTuple):
    entry: _Entry
    payload: bytes
    content_type: str
    caller: Call
    depth: int
    started: float


def _charged(caller: Call) -> str:
    """Return whom a limit counts: a caller by name; one without by where they are, or one of them would use it up for all."""
    if caller.principal.subject:
        return caller.principal.subject
    return f"{_ANONYMOUS}@{limit_key(caller.client_address)}" if caller.client_address else _ANONYMOUS


def _check_content_type(content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() not in {JSON, ""}:
        raise UnsupportedMediaTypeError("Actions take application/json.", metadata={"content_type": content_type[:100]})


def _bounded(caller: Call, deadline: float) -> Call:
    """Return the call with the nearer of both deadlines."""
    if 0 < caller.deadline <= deadline:
        return caller
    return replace(caller, deadline=deadline)
