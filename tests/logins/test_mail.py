"""Mails whose sender is killed: none is lost, and none comes with another token."""

import asyncio
import re
from collections import defaultdict
from email import message_from_bytes
from email.policy import default
from typing import Any

import httpx
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import until

from .conftest import PASSWORD, Visitor

PEOPLE = 16
NEW = "another horse and battery"


class SlowMailbox(Sink):
    """A server that takes its time for each mail; half of them it has then, whether or not its client lives to hear of it."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.tokens: defaultdict[str, list[str]] = defaultdict(list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Take a mail."""
        self.begun += 1
        is_quick = self.begun % 2 == 0
        if not is_quick:
            await asyncio.sleep(0.5)  # a slow server; the test waits for what arrives
        message = message_from_bytes(envelope.content, policy=default)
        body = message.get_body(("plain",)).get_content()
        if found := re.search(r"[A-Za-z0-9_-]{43}", body):
            self.tokens[envelope.rcpt_tos[0]].append(found[0])
        if is_quick:
            await asyncio.sleep(0.5)
        return "250 OK"


async def test_a_mail_survives_the_process_that_sends_it(platform: Platform, mail_port: int) -> None:
    """All processes of auth are killed while mails are handed over: each arrives, again with the same token, which works."""
    mailbox = SlowMailbox()
    loop = asyncio.get_running_loop()
    async with httpx.AsyncClient(base_url=platform.gateway, timeout=60, verify=NO_TLS) as http:
        people = [Visitor(http, f"192.0.2.{number + 100}") for number in range(PEOPLE)]
        for person in people:
            await person.register()
        server = await loop.create_server(lambda: SMTP(mailbox, loop=loop), "127.0.0.1", mail_port)
        async with server:
            for person in people:
                assert (await person.ask("password/forgot", email=person.email)).status_code == 202
            await until(lambda: mailbox.begun >= 4)
            senders = [name for name in platform.children if name.startswith("auth")]
            assert senders
            for name in senders:
                platform.kill(name)
            await until(lambda: set(mailbox.tokens) == {person.email for person in people}, within_s=120)
            assert {email: len(set(tokens)) for email, tokens in mailbox.tokens.items()} == {p.email: 1 for p in people}
            await until(lambda: _is_let_in(people[0]), within_s=60)
            person = people[1]
            reset = {"token": mailbox.tokens[person.email][0], "new_password": NEW}
            assert (await person.ask("password/reset", **reset)).status_code == 204
            assert await person.login(NEW) == "in"
            assert (await person.ask("password/reset", **reset)).json()["code"] == "AUTH_MAIL_TOKEN_INVALID"


async def _is_let_in(person: Visitor) -> bool:
    return await person.login(PASSWORD) == "in"
