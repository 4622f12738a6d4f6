"""What a login, a registration and a refresh are charged before anything that costs, wherever the call came from.

Counted by the ratelimit service, so it holds across processes; while that cannot be asked, by this process alone.

An account's limit must slow who guesses from many addresses, and must not become a lock that a stranger can turn. So what
an account is charged depends on the **place** a login comes from, the limit key of its address:

==================================== ============================================================
a place that logged in to it before  the rule ``login.account``, counted for this place alone
another, at its first tries          ``login.account``
another that goes on trying          half of ``login.account``, and ``login.account``
==================================== ============================================================

Half of the rule is thus left to places that have not tried yet, and no stranger's tries count at the owner's own places.

Who is in and tells the password again, to change it for one, is charged ``login.account`` by session: tries with a token that was
stolen are counted together, wherever they come from, and count against nobody's login.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from time import monotonic

from stylobate.clients.limit_groups import LevelSpec
from stylobate.clients.limit_outcome import AppliedLimit, RateLimitedError
from stylobate.clients.limit_rules import LimitRules
from stylobate.clients.limits import LimitsClient
from stylobate.clients.local_counts import Counted, LocalCounts
from stylobate.declarations.model import RateLimit
from stylobate.declarations.rules import parse_rate_limit
from stylobate.errors import StylobateError
from stylobate.identity import DEFAULT_TENANT
from stylobate.telemetry import counter

from stylobate_auth.settings import AuthSettings

LOGIN, REGISTER, REFRESH, MAIL = "login.ip", "register.ip", "refresh.ip", "mail.ip"
_ACCOUNT = "login.account"
_FIRST = RateLimit(3, timedelta(days=1), burst=3)
"""Tries of a place at an account that count as its first."""
_MAILS = RateLimit(3, timedelta(hours=1), burst=3)
"""Mails of a kind to one account that strangers can ask for. Past it none is sent, and the token of one of them holds still."""
_EXPORTS = RateLimit(10, timedelta(hours=1), burst=10)
"""Exports of accounts that one person asks for."""
_AGAIN_AT_ONCE = 2
"""Further tries at an account before their rate holds: few, or places that go on trying would live on them for minutes."""
_Charge = tuple[LevelSpec, ...]


class LoginLimits:
    """Charges the rules.

    :param key: makes subjects out of addresses of accounts: what is counted is named in Redis, and must not tell whose it is.
    :param clock: seconds, monotonic: for counts of this process. :param rules: what files say in place of the settings.
    """

    def __init__(
        self,
        limits: LimitsClient,
        settings: AuthSettings,
        key: bytes,
        clock: Callable[[], float] = monotonic,
        rules: LimitRules | None = None,
    ) -> None:
        self._limits = limits
        self._key = key
        self._local = LocalCounts(clock)
        self._rules = rules or LimitRules()
        texts = {LOGIN: settings.login_ip, REGISTER: settings.register_ip, REFRESH: settings.refresh_ip, MAIL: settings.mail_ip}
        self._by_place: dict[str, _Charge] = {name: (_level(name, _limit(text)),) for name, text in texts.items()}
        self._of_settings = _limit(settings.login_account)
        self._mails: _Charge = (_level("mail.account", _MAILS),)
        self._exports: _Charge = (_level("user.export", _EXPORTS),)
        self._use()
        self._rules.on_change.append(self._use)
        self._refused = counter("auth_limited", "Logins, registrations and refreshes that a limit refused.", ("rule",))

    def _use(self) -> None:
        """Take the limit of accounts that holds by now."""
        said = next((rule.limit for rule in self._rules.plan.rules if rule.name == _ACCOUNT), None)
        account = said or self._of_settings
        again = replace(account, period=2 * account.period, burst=_AGAIN_AT_ONCE)
        self._known: _Charge = (_level("login.place", account),)
        self._session: _Charge = (_level("login.session", account),)
        self._first: _Charge = (_level("login.first", _FIRST),)
        self._new: _Charge = (_level(_ACCOUNT, account),)
        self._again: _Charge = (_level("login.again", again), *self._new)

    async def charge_place(self, rule: str, place: str) -> None:
        """Charge where a call comes from; a place that is not known (an older gateway's) is not charged.

        :param rule: ``login.ip``, ``register.ip``, ``refresh.ip`` or ``mail.ip``.
        :raises RateLimitedError: too many. :raises BannedError: the place is banned.
        """
        if not place:
            return
        said = self._rules.plan.of_auth(rule)
        charge = self._by_place[rule] if said is None else (said,)
        wait_s = await self._wait(charge, (place,))
        if wait_s:
            raise self._error(charge[0], wait_s)

    async def charge_account(self, tenant: str, email_key: str, place: str, *, is_known: bool) -> None:
        """Charge a try at an account, whether there is one or not.

        :param is_known: whether the place logged in to it before.
        :raises RateLimitedError: too many; it says the same whatever the place.
        """
        account = hashlib.blake2b(f"{tenant}\0{email_key}".encode(), key=self._key, digest_size=16).hexdigest()
        pair = (f"{account}@{place}",)
        if is_known:
            wait_s = await self._wait(self._known, pair)
        elif place and not await self._wait(self._first, pair):
            wait_s = await self._wait(self._new, (account,))
        else:
            wait_s = await self._wait(self._again, (account, account))
        if wait_s:
            raise self._error(self._new[0], wait_s)

    async def charge_session(self, session: str) -> None:
        """Charge a try at the password of the account that a session is of. Raises RateLimitedError.

        :param session: its id.
        """
        if wait_s := await self._wait(self._session, (session,)):
            raise self._error(self._new[0], wait_s)

    async def charge_export(self, subject: str) -> None:
        """Charge an export of an account, which reads everything that is kept of it. Raises RateLimitedError.

        :param subject: who asks for it: the id of an account.
        """
        if wait_s := await self._wait(self._exports, (subject,)):
            raise self._error(self._exports[0], wait_s)

    async def allows_mail(self, tenant: str, email_key: str, kind: str) -> bool:
        """Charge a mail to an account, whether there is one or not; return whether it may be sent. Raises BannedError."""
        return not await self._wait_for_mail(tenant, email_key, kind)

    async def charge_mail(self, tenant: str, subject: str, kind: str) -> None:
        """Charge a mail that an account's owner asks for. Raises RateLimitedError.

        :param subject: whom it would be too many for: an account, or a mailbox.
        """
        if wait_s := await self._wait_for_mail(tenant, subject, kind):
            raise self._error(self._mails[0], wait_s)

    async def _wait_for_mail(self, tenant: str, subject: str, kind: str) -> float:
        name = hashlib.blake2b(f"{tenant}\0{kind}\0{subject}".encode(), key=self._key, digest_size=16).hexdigest()
        return await self._wait(self._mails, (name,))

    async def _wait(self, charge: _Charge, subjects: tuple[str, ...]) -> float:
        """Charge; return the seconds until it can pass, 0 when it was charged."""
        try:
            outcome = await self._limits.check(charge, subjects)
        except StylobateError:
            return self._count(charge, subjects)
        if outcome.is_banned:
            raise outcome.error()
        if not outcome.allowed:
            return max(0.001, outcome.retry_after.total_seconds()) if outcome.retry_after else 1.0
        # what nobody counted, or not with the other processes, is counted here at least
        return self._count(charge, subjects) if outcome.degraded else 0.0

    def _count(self, charge: _Charge, subjects: tuple[str, ...]) -> float:
        """Charge by this process's own counts; return as :meth:`_wait`."""
        levels = [
            Counted(DEFAULT_TENANT, level.message.policy, subject)
            for level, subject in zip(charge, subjects, strict=True)
            if not level.message.policy.shadow
        ]
        return self._local.charge(levels, 1)[1]

    def _error(self, level: LevelSpec, wait_s: float) -> RateLimitedError:
        self._refused.labels(level.name).inc()
        return AppliedLimit.of(level.message.policy).reached(timedelta(seconds=math.ceil(wait_s)))


def _limit(text: str) -> RateLimit:
    """Return the limit of ``10/minute`` or ``10/minute burst 20``; without a burst the limit at once. Raises ValueError."""
    return parse_rate_limit(text, plain="gcra")


def _level(name: str, limit: RateLimit) -> LevelSpec:
    return LevelSpec.of_policy(name, limit.limit, limit.period, algorithm="gcra", burst=limit.burst)
