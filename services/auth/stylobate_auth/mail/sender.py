"""Sends what was committed: every mail at least once, each time the same one, until somebody takes it or it is too old."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from stylobate.audit import AuditRecord, Outcome
from stylobate.errors import UnavailableError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.stopping import goes_on
from stylobate.telemetry import counter

from stylobate_auth.mail.kinds import WITH_TOKEN, MailKind
from stylobate_auth.mail.port import Mail, MailDelayedError, MailRefusedError, MailTransport
from stylobate_auth.mail.templates import MailTemplates
from stylobate_auth.mail.tokens import MailTokens
from stylobate_auth.model import DueMail
from stylobate_auth.store.port import AuthStore

_AT_ONCE = 8
_LONGEST_DELAY = timedelta(hours=1)
_log = get_logger("app")


class MailSender:
    """Takes due mails from the queue and hands them over. Any number of processes may do so at once.

    A mail is taken for a time; a process that is killed in between leaves it to the others. Where it was handed over and that
    could not be noted any more, it goes out again: with the same ``Message-ID`` and the same token.

    :param links: what a mail's link is, by its kind, with ``{token}`` in it. :param timeout: of the transport, for one mail.
    :param due: set when mails were committed.
    """

    def __init__(
        self,
        store: AuthStore,
        transport: MailTransport,
        templates: MailTemplates,
        tokens: MailTokens,
        *,
        links: dict[MailKind, str],
        timeout: timedelta,
        due: asyncio.Event,
        clock: Callable[[], datetime],
        look_every: timedelta = timedelta(seconds=5),
    ) -> None:
        self._store = store
        self._queue = store.mails()
        self._transport = transport
        self._templates = templates
        self._tokens = tokens
        self._links = links
        self._taken_for = 2 * timeout
        self._clock = clock
        self._look_every_s = look_every.total_seconds()
        self._due = due
        self._fault = ""
        self._count = counter("auth_mails", "Mails, by what became of a try to send them.", ("kind", "outcome"))

    async def run(self) -> None:
        """Send, forever."""
        while goes_on():
            self._due.clear()
            taken = 0
            with suppress(UnavailableError):  # the database's own check says so
                taken = await self.send_due()
            if taken < _AT_ONCE:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._look_every_s):
                        await self._due.wait()

    async def send_due(self) -> int:
        """Send what is due now, a few mails; return how many. Raises DatabaseUnavailableError."""
        now = self._clock()
        due = await self._queue.take(now, now + self._taken_for, _AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for mail in due:
                group.create_task(self._send(mail, now))
        return len(due)

    async def health(self) -> Health:
        """Degraded while mails are not taken."""
        return Health(Status.DEGRADED if self._fault else Status.HEALTHY, self._fault)

    async def _send(self, due: DueMail, now: datetime) -> None:
        try:
            if not due.address:
                await self._queue.done(due)  # the account has gone on meanwhile
            elif due.expires_at <= now:
                await self._give_up(due, "expired")
            else:
                await self._try(due, now)
        except UnavailableError:
            pass  # it stays taken, and is sent again
        except Exception:  # noqa: BLE001  see below
            # a defect: it must not hold up the others, and is tried again until it is too old
            _log.exception("mail_failed", mail=due.id, kind=due.kind.value, attempts=due.attempts)

    async def _try(self, due: DueMail, now: datetime) -> None:
        try:
            await self._transport.send(await self._written(due))
        except MailDelayedError as error:
            self._fault = f"mail is not taken: {error}"
            self._count.labels(due.kind.value, "delayed").inc()
            _log.warning("mail_delayed", mail=due.id, kind=due.kind.value, attempts=due.attempts, error=str(error))
            await self._queue.delay(due, now + min(timedelta(seconds=4 ** min(due.attempts - 1, 8)), _LONGEST_DELAY))
        except MailRefusedError as error:
            await self._give_up(due, str(error))
        else:
            self._fault = ""
            self._count.labels(due.kind.value, "sent").inc()
            _log.info("mail_sent", mail=due.id, kind=due.kind.value, attempts=due.attempts)
            await self._queue.done(due)

    async def _give_up(self, due: DueMail, why: str) -> None:
        self._count.labels(due.kind.value, "given_up").inc()
        _log.error("mail_given_up", mail=due.id, kind=due.kind.value, attempts=due.attempts, error=why)
        await self._queue.done(due)
        target = f"user:{due.account_id}"
        await self._store.note(
            AuditRecord(
                "auth.mail", Outcome.FAILURE, tenant=due.tenant, target=target, detail={"kind": due.kind.value, "why": why}
            )
        )

    async def _written(self, due: DueMail) -> Mail:
        token = self._tokens.token(due.tenant, due.id, due.kind) if due.kind in WITH_TOKEN else ""
        link = self._links.get(due.kind, "").replace("{token}", token) if token else ""
        # in a thread: the first mail imports what fills it in, and nobody's request is to wait for that
        content = await asyncio.to_thread(
            self._templates.fill, due.kind, name=due.name, email=due.address, token=token, link=link, expires_at=due.expires_at
        )
        return Mail(due.id, due.address, content.subject, content.text, content.html, due.asked_at)
