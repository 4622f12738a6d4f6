"""The path of an action: find, permission, limit, validate, run, validate, audit, reply. In that order, for every caller."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from stylobate.clients.limit_outcome import LIMIT, LimitOutcome
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import ActionDeclaration
from stylobate.errors import CancelledCallError, MalformedJsonError, StylobateError
from stylobate.logs import get_logger
from stylobate.modules.binding import BoundAction
from stylobate.modules.containment import told
from stylobate.modules.context import ActionContext, Platform
from stylobate.modules.errors import ActionFailedError, ActionInputInvalidError
from stylobate.modules.payload import JSON, decode
from stylobate.rpc.call import Call

from stylobate_actions.action_request import ActionEntry, ActionRequest
from stylobate_actions.audit import ActionTrail
from stylobate_actions.blame import is_defect, placed
from stylobate_actions.errors import ActionNotFoundError, ActionRecursionError, ActionTimeoutError, ActionUnavailableError
from stylobate_actions.limits import ActionLimits
from stylobate_actions.model import ActionReply
from stylobate_actions.runner import OverdueError, Runner
from stylobate_actions.runs import HeldRun, Runs

MAX_DEPTH = 8
"""How many actions may call each other."""
_GATEWAY = "gateway"
"""Whose word counts on what a call was charged."""
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
        runs: Runs | None = None,
        tells_defects: bool = False,
    ) -> None:
        """Take the actions that run, and the names of modules that do not.

        :param left_out: actions of those modules, as far as they are known.
        :param limits: None: limits of actions are not counted. :param audit: None: calls are not written down.
        :param runs: None: no call may have an idempotency key.
        :param tells_defects: whether the answer to a call that failed says what was raised; for development.
        """
        self._entries: dict[str, ActionEntry] = {action.name: ActionEntry(action) for action in actions}
        self._unavailable = frozenset(unavailable)
        self.left_out = {action.name: action for action in left_out if action.name not in self._entries}
        """Actions that are declared and do not run, by name."""
        self._access = access
        self._limits = limits
        self._runner = runner
        self._audit = audit
        self._loop = loop
        self._runs = runs
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

    async def execute(
        self,
        name: str,
        payload: bytes,
        caller: Call,
        *,
        content_type: str = JSON,
        depth: int = 0,
        charged: str = "",
        key: str = "",
        step: str = "",
    ) -> ActionReply:
        """Run the action for the caller.

        :param payload: the input as JSON; nothing stands for ``null``.
        :param charged: the limit, as declared, that was charged on the way here, which only a gateway is believed; another one
            than the action has is charged.
        :param depth: how many actions called each other before this one.
        :param key: an idempotency key of the caller's; empty: none.
        :param step: the key that the run of another action made for this call of it, in place of one.
        :raises StylobateError: ACTION_NOT_FOUND, UNAUTHENTICATED, PERMISSION_DENIED, RATE_LIMITED, IDEMPOTENCY_KEY_REFUSED,
            IDEMPOTENCY_KEY_REUSED, IDEMPOTENCY_IN_PROGRESS, UNSUPPORTED_MEDIA_TYPE, MALFORMED_JSON, ACTION_INPUT_INVALID,
            ACTION_TIMEOUT, ACTION_FAILED, ACTION_RECURSION, or the typed error that the handler let through, unchanged.
        """
        entry = self._entries.get(name) or self._entry(name)
        started = self._loop.time()
        if charged and caller.principal.via != _GATEWAY:
            charged = ""
        request = ActionRequest(entry, payload, content_type, caller, depth, started, charged, key, step)
        standing, is_replayed = None, False
        try:
            if not self._is_let_in(request):
                standing = await self._let_in(request)
            if not (key or step) or not request.may_be_kept():
                output = await self._run(request)
            else:
                output, is_replayed = await self._once(request)
        except (StylobateError, asyncio.CancelledError) as error:
            failed = _told(error, standing) if isinstance(error, StylobateError) else CancelledCallError()
            if (waiting := self._ended(entry, started, caller, failed)) is not None:
                await waiting
            raise
        if (waiting := self._ended(entry, started, caller, None)) is not None:
            await waiting
        return ActionReply(output, standing, is_replayed)

    async def call(self, action: str, payload: bytes, caller: Call, depth: int, step: str) -> bytes:
        """Run an action for another one (``ctx.call``)."""
        try:
            return (await self.execute(action, payload, caller, depth=depth, step=step)).output
        except (ActionNotFoundError, ActionInputInvalidError, ActionRecursionError) as error:
            error.sent = error.sent or {"action": action, "data": decode(payload)}
            raise

    def _ended(self, entry: ActionEntry, started: float, caller: Call, error: StylobateError | None) -> Awaitable[None] | None:
        """Count the call and write it down; the caller awaits what is returned, if anything is."""
        entry.observe(self._loop.time() - started, error.reason if error is not None else "", caller.traceparent)
        return None if self._audit is None else self._audit.note(entry.action.name, caller, error)

    def _entry(self, name: str) -> ActionEntry:
        entry = self._entries.get(name)
        if entry is not None:
            return entry
        if name in self.left_out or name.partition(".")[0] in self._unavailable:
            raise ActionUnavailableError(metadata={"action": name}, retry_after=timedelta(seconds=30))
        raise ActionNotFoundError

    def _is_let_in(self, request: ActionRequest) -> bool:
        """Return whether it is known, without asking anybody, that the caller may call the action and was charged for it."""
        declaration = request.entry.action.declaration
        if not self._access.decided(declaration.access, request.caller.principal):
            return False
        return self._limits is None or self._limits.text(declaration.name, declaration.rate_limit) == request.charged

    async def _let_in(self, request: ActionRequest) -> LimitOutcome | None:
        """Find that out, and charge the caller; return how the action's own limits stand then. Raises StylobateError."""
        caller, declaration = request.caller, request.entry.action.declaration
        if not self._access.decided(declaration.access, caller.principal):
            resource = declaration.resource.of(request.payload) if declaration.resource is not None else ""
            await self._access.require(declaration.access, caller.principal, f"call {declaration.name}", resource=resource)
        limits, limit = self._limits, declaration.rate_limit
        if limits is None or limits.text(declaration.name, limit) == request.charged:
            return None
        return await limits.charge(declaration.name, limit, caller.principal, caller.client_address)

    async def _once(self, request: ActionRequest) -> tuple[bytes, bool]:
        """Return the output and whether it is that of an earlier call with the request's key."""
        if self._runs is None:
            raise AssertionError("calls with a key need a ledger")
        key, content = request.run()
        async with self._runs.begun(key, content, request.started + request.entry.timeout_s) as found:
            if isinstance(found, bytes):
                return found, True
            return await self._run(request._replace(started=self._loop.time()), found), False

    def _parsed(self, request: ActionRequest) -> Any:
        """Return the input as the handler takes it. Raises StylobateError."""
        if request.content_type != JSON:
            request.check_content_type()
        try:
            value = request.entry.action.parse(request.payload)
        except (ActionInputInvalidError, MalformedJsonError):
            raise
        except BaseException as error:  # the module's own types read the input too
            if isinstance(error, StylobateError) and not is_defect(error, request.payload):
                raise
            raise self._failed(request, error) from error
        if request.depth > MAX_DEPTH:
            raise ActionRecursionError(metadata={"action": request.entry.action.name, "depth": str(request.depth)})
        return value

    async def _run(self, request: ActionRequest, run: HeldRun | None = None) -> bytes:
        """Read the input, run the handler, and return the output."""
        if self._platform is None:
            raise AssertionError("connect() comes before the first action")
        value, action = self._parsed(request), request.entry.action
        call = request.bounded()
        steps = run.steps if run is not None else None
        context = ActionContext(self._platform, action.module, action.name, call, depth=request.depth, steps=steps)
        try:
            if run is not None and self._runs is not None:
                handler = partial(_kept, action, context, value)
                kept: bytes = await self._runner.run(action.name, call, self._runs.carry, run, handler)
                return kept
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

    def _failed(self, request: ActionRequest, error: BaseException) -> ActionFailedError:
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


def _told(error: StylobateError, standing: LimitOutcome | None) -> StylobateError:
    """Return the error of a call: it tells how the action's own limits stand if they were charged, and of no others."""
    error.metadata = {key: value for key, value in error.metadata.items() if not key.startswith(LIMIT)}
    if standing is not None:
        error.metadata |= standing.metadata(LIMIT)
    return error


async def _kept(action: BoundAction, context: ActionContext, value: Any) -> bytes:
    """Return the output as it is kept."""
    return action.encode(await action.run(context, value))
