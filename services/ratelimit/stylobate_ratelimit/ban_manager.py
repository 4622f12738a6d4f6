"""Begins and lifts bans: for operators, and for rules that ban whoever they refuse again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic

from stylobate.audit import AuditRecord
from stylobate.declarations.evaluate import Permissions
from stylobate.errors import InvalidInputError, PermissionDeniedError, UnauthenticatedError, UnavailableError, Violation
from stylobate.idempotency import Claim, Idempotency
from stylobate.identity import DEFAULT_TENANT, Principal
from stylobate.logs import get_logger
from stylobate.outbox import Event
from stylobate.paging import page_position, page_size, page_token
from stylobate.resilience import backoff
from stylobate.rpc.call import NO_CAUSE, Call
from stylobate.stopping import goes_on
from stylobate.telemetry import counter

from stylobate_ratelimit.ban import LEVELS, AutomaticBan, Ban, BanSubject, OperatorBan
from stylobate_ratelimit.ban_list import BanList
from stylobate_ratelimit.errors import BanNotFoundError
from stylobate_ratelimit.store.port import BanTransaction

READ, WRITE = "bans:read", "bans:write"
STARTED, LIFTED = "ratelimit.ban.started", "ratelimit.ban.lifted"
_MOST_ASKED = 10_000
_LATE_S = 60.0
_MS = timedelta(milliseconds=1)
_security = get_logger("security")
_log = get_logger("app")


class BanManager:
    """Changes bans, each with its event and its audit record.

    :param bans: is told of what is changed here.
    """

    def __init__(self, access: Permissions, bans: BanList) -> None:
        self._access = access
        self._list = bans
        self._asked: dict[BanSubject, tuple[AutomaticBan, float]] = {}
        self._some = asyncio.Event()
        self._on_lifted: Callable[[BanSubject, str], Awaitable[None]] = _nothing
        self._started = counter("ratelimit_bans_started", "Bans that began, by level and how.", ("level", "how"))

    async def put(self, ban: OperatorBan, principal: Principal, caller: Call, claim: Claim | None = None) -> Ban:
        """Ban a subject, in place of any ban that it has.

        :raises PermissionDeniedError, BanInvalidError, DatabaseUnavailableError:
        """
        await self._require(principal, WRITE)
        ban = ban.checked()
        async with self._list.store.transaction() as transaction:
            await transaction.claim(claim)
            begun = await transaction.put(ban)
            await _tell(transaction, STARTED, begun, caller)
            await transaction.answer(claim, begun)
        self._note(begun, "operator")
        return begun

    async def lift(self, subject: BanSubject, principal: Principal, caller: Call, claim: Claim | None = None) -> None:
        """Lift a ban and forget its strikes.

        :raises PermissionDeniedError, BanInvalidError, DatabaseUnavailableError: :raises BanNotFoundError: none is in force.
        """
        await self._require(principal, WRITE)
        subject = subject.checked()
        async with self._list.store.transaction() as transaction:
            await transaction.claim(claim)
            lifted = await transaction.lift(subject)
            if lifted is None:
                raise BanNotFoundError
            await _tell(transaction, LIFTED, lifted, caller)
            await transaction.answer(claim, None)
        _security.info("ban_lifted", level=subject.level, subject=subject.subject, actor=principal.id)
        self._list.add(lifted)
        if lifted.rule:
            await self._on_lifted(subject, lifted.rule)

    async def get(self, subject: BanSubject, principal: Principal) -> Ban:
        """Return the ban that holds for a subject: its own, for an address else that of the narrowest network around it.

        :raises PermissionDeniedError, BanInvalidError, DatabaseUnavailableError: :raises BanNotFoundError: none does.
        """
        await self._require(principal, READ)
        subject = subject.checked()
        for candidate in (subject, *sorted(self._list.around(subject), key=_length, reverse=True)):
            if (found := await self._list.store.ban(candidate)) is not None:
                return found
        raise BanNotFoundError

    async def list(self, principal: Principal, level: str, asked: int, token: str) -> tuple[list[Ban], str]:
        """Return a page of bans in force by level and subject, and the token of the next one.

        :raises PermissionDeniedError, DatabaseUnavailableError: :raises InvalidInputError: level, size or token.
        """
        await self._require(principal, READ)
        if level not in {"", *LEVELS}:
            raise InvalidInputError(violations=[Violation("/level", f"must be one of: {', '.join(LEVELS)}")])
        size = page_size(asked)
        about = ("bans", level)
        after_level, _, after = page_position(about, token).partition(" ")
        found = await self._list.store.bans(principal.tenant or DEFAULT_TENANT, level, (after_level, after), size + 1)
        page = found[:size]
        last = page[-1].subject if len(found) > size else None
        return page, page_token(about, f"{last.level} {last.subject}") if last else ""

    # by rules

    @property
    def has_any(self) -> bool:
        """Whether anybody is banned."""
        return len(self._list) > 0

    def left_ms(self, subject: BanSubject) -> int:
        """Return what is left of a ban, at least 1; 0: the subject is not banned."""
        left = self._list.left(subject)
        return 0 if left is None else min(2**32 - 1, max(1, left // _MS))

    def ask(self, ban: AutomaticBan) -> None:
        """Have a subject banned soon, unless it is banned or asked for already. Whoever goes on is asked for again."""
        if ban.subject not in self._asked and len(self._asked) < _MOST_ASKED and self._list.left(ban.subject) is None:
            self._asked[ban.subject] = ban, monotonic()
            self._some.set()

    async def run(
        self,
        quiet: Callable[[AutomaticBan, timedelta], Awaitable[None]],
        forgive: Callable[[BanSubject, str], Awaitable[None]],
    ) -> None:
        """Begin the bans that are asked for, forever.

        While the database is away they wait for a minute: whoever goes on after that is asked for again.

        :param quiet: is called when one has begun: what is refused meanwhile counts no more.
        :param forgive: is called when one was lifted.
        """
        self._on_lifted = forgive
        waits = backoff(0.05, maximum=1.0)
        while goes_on():
            await self._some.wait()
            subject, (ban, asked_at) = next(iter(self._asked.items()))
            try:
                begun = await self.begin(ban) if monotonic() - asked_at < _LATE_S else None
            except UnavailableError as error:
                _log.warning("ban_waits", subject=subject.subject, rule=ban.rule, error=str(error))
                await asyncio.sleep(next(waits))
                continue
            waits = backoff(0.05, maximum=1.0)
            if begun is not None and begun.until is not None:
                await quiet(ban, begun.until - begun.started_at)
            del self._asked[subject]
            if not self._asked:
                self._some.clear()

    async def begin(self, ban: AutomaticBan) -> Ban | None:
        """Begin an automatic ban; None: one is in force already. Raises DatabaseUnavailableError."""
        async with self._list.store.transaction() as transaction:
            begun = await transaction.begin(ban)
            if begun is not None:
                await _tell(transaction, STARTED, begun, None)
        if begun is not None:
            self._note(begun, "automatic")
        return begun

    @property
    def idempotency(self) -> Idempotency:
        """Answers changes that come again with their key. Raises DatabaseUnavailableError."""
        return self._list.store.idempotency

    async def _require(self, principal: Principal, permission: str) -> None:
        if principal.is_anonymous:
            raise UnauthenticatedError
        if not await self._access.allowed(principal, permission):
            raise PermissionDeniedError(f"This takes {permission}.", metadata={"permission": permission})

    def _note(self, begun: Ban, how: str) -> None:
        tenant, level, subject = begun.subject
        self._started.labels(level, how).inc()
        until = begun.until.isoformat() if begun.until else "lifted"
        _security.warning(
            "ban_started", level=level, subject=subject, tenant=tenant, rule=begun.rule, actor=begun.actor, until=until
        )
        self._list.add(begun)


def _length(network: BanSubject) -> int:
    return int(network.subject.rpartition("/")[2])


async def _nothing(subject: BanSubject, rule: str) -> None:
    """Forget nothing: nobody counts."""


async def _tell(transaction: BanTransaction, what: str, ban: Ban, caller: Call | None) -> None:
    """Leave the event and the audit record of a change."""
    tenant, level, subject = ban.subject
    actor = caller.principal.id if caller else ""
    data = {
        "level": level,
        "subject": subject,
        "reason": ban.reason,
        "rule": ban.rule,
        "automatic": bool(ban.rule),
        "strikes": ban.strikes,
        "started_at": ban.started_at,
        "until": ban.until,
    }
    cause = caller.cause if caller else NO_CAUSE
    await transaction.emit(Event.new(what, f"{level}:{subject}", data, tenant=tenant, actor=actor, cause=cause))
    await transaction.record(
        AuditRecord(
            what,
            actor=actor,
            tenant=tenant,
            via=caller.principal.via if caller else "",
            target=f"{level}:{subject}",
            request_id=caller.request_id if caller else "",
            detail={key: data[key] for key in ("reason", "rule", "strikes", "until")},
        )
    )
