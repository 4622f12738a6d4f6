"""Mail over SMTP, to a real server."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from stylobate.ids import new_id
from stylobate.testing.authority import Authority
from stylobate_auth.mail.port import Mail, MailDelayedError, MailRefusedError
from stylobate_auth.mail.server import SmtpServer
from stylobate_auth.mail.smtp import SmtpTransport

SENDER = "Shop <no-reply@shop.example>"


class Mailbox(Sink):
    """Keeps what it is given; answers as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.envelopes: list[Any] = []
        self.logins: list[bytes] = []
        self.to_recipient = self.to_data = "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        """Answer to an address."""
        if self.to_recipient.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.to_recipient

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Answer to a mail."""
        self.envelopes.append(envelope)
        return self.to_data

    def login(self, server: Any, session: Any, envelope: Any, mechanism: str, data: LoginPassword) -> AuthResult:
        """Let in who knows the password."""
        self.logins.append(data.login)
        return AuthResult(success=data.password == b"right", handled=False)


Serve = Callable[..., Any]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Return a starter of servers on free ports of this machine."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("mail")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    servers: list[asyncio.Server] = []

    async def start(mailbox: Mailbox, security: str = "none", **more: Any) -> SmtpServer:
        options: dict[str, Any] = {"hostname": "mail.example", "enable_SMTPUTF8": True}
        if security == "starttls":
            options |= {"tls_context": context, "require_starttls": True}
        if "user" in more:
            options |= {"authenticator": mailbox.login, "auth_required": True, "auth_require_tls": security != "tls"}
        make = lambda: SMTP(mailbox, loop=asyncio.get_running_loop(), **options)  # noqa: E731  one use
        tls = context if security == "tls" else None
        server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=tls)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        return SmtpServer("127.0.0.1", port, security, **{"authority": str(authority.file)} | more)  # type: ignore[arg-type]

    yield start
    for server in servers:
        server.close()


def _mail(to: str = "ada@example.com") -> Mail:
    return Mail(new_id(), to, "Grüße", "Hello\n.\n", "<p>Hello</p>", datetime.now(UTC))


async def _send(server: SmtpServer, mail: Mail | None = None, seconds: float = 20) -> None:
    await SmtpTransport(server, SENDER, timedelta(seconds=seconds)).send(mail or _mail())


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
async def test_a_mail_arrives_whole(serve: Serve, security: str) -> None:
    """In the clear, or encrypted from the first byte or a later one; to an address of any script."""
    mailbox = Mailbox()
    server = await serve(mailbox, security)
    mail = _mail("élan@bücher.example")
    await _send(server, mail)
    (envelope,) = mailbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("no-reply@shop.example", ["élan@bücher.example"])
    assert f"<{mail.id}@shop.example>".encode() in envelope.content
    assert b"Auto-Submitted: auto-generated" in envelope.content


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_server_that_is_not_who_it_says_gets_nothing(serve: Serve, security: str) -> None:
    """Its certificate must be good: neither mail nor password goes to anybody else."""
    mailbox = Mailbox()
    server = await serve(mailbox, security, authority="", user="shop", password="right")
    with pytest.raises(MailDelayedError):
        await _send(server)
    assert (mailbox.envelopes, mailbox.logins) == ([], [])


async def test_a_server_without_starttls_gets_nothing(serve: Serve) -> None:
    """Where the setting wants it, who leaves it out may be in between."""
    mailbox = Mailbox()
    plain = await serve(mailbox, "none")
    with pytest.raises(MailDelayedError):
        await _send(SmtpServer("127.0.0.1", plain.port, "starttls"))
    assert mailbox.envelopes == []


@pytest.mark.parametrize(("password", "arrives"), [("right", True), ("wrong", False)])
async def test_who_logs_in_is_let_in(serve: Serve, password: str, arrives: bool) -> None:
    """A wrong password is a matter of settings: the mail waits."""
    mailbox = Mailbox()
    server = await serve(mailbox, "starttls", user="shop", password=password)
    if arrives:
        await _send(server)
    else:
        with pytest.raises(MailDelayedError, match="535"):
            await _send(server)
    assert len(mailbox.envelopes) == int(arrives)
    assert set(mailbox.logins) == {b"shop"}


@pytest.mark.parametrize("where", ["to_recipient", "to_data"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [("550 5.1.1 no <ada@example.com> here", MailRefusedError), ("451 later, ada@example.com", MailDelayedError)],
)
async def test_what_the_server_says_decides(serve: Serve, where: str, answer: str, error: type[Exception]) -> None:
    """5xx about the mail is for good, 4xx is for now; what it said of an address goes into no log."""
    mailbox = Mailbox()
    setattr(mailbox, where, answer)
    server = await serve(mailbox)
    with pytest.raises(error, match=answer[:3]) as refused:
        await _send(server)
    assert "ada" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_a_server_that_is_away_or_silent_is_waited_for(serve: Serve) -> None:
    """Nobody listens; somebody listens and says nothing."""
    with pytest.raises(MailDelayedError, match=r"127\.0\.0\.1:1: "):
        await _send(SmtpServer("127.0.0.1", 1, "none"))
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    async with silent:
        with pytest.raises(MailDelayedError):
            await _send(SmtpServer("127.0.0.1", silent.sockets[0].getsockname()[1], "none"), seconds=0.05)
        for writer in writers:
            writer.close()
