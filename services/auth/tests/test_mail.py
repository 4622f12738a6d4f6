"""Mail: what it says, that it is handed over once or more but always the same, and what becomes of what nobody takes."""

from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from stylobate.audit import Outcome
from stylobate.ids import new_id
from stylobate_auth.mail.folder import FolderTransport
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.mail.port import Mail, MailDelayedError, MailRefusedError
from stylobate_auth.mail.templates import MailTemplates
from stylobate_auth.mail.tokens import MailTokens

from .conftest import Auth

WORDS = {"name": "Ada", "email": "ada@example.com", "expires_at": datetime(2030, 1, 2, 3, 4, tzinfo=UTC)}


@pytest.mark.parametrize("kind", MailKind)
def test_each_mail_has_both_forms_with_the_same_words(kind: MailKind) -> None:
    """Its subject is one line; link or token stands in both parts where there is one."""
    templates = MailTemplates("Shop")
    for token, link in (("the-token", ""), ("the-token", "https://shop.example/x#the-token")):
        mail = templates.fill(kind, token=token, link=link, **WORDS)
        assert "Shop" in mail.subject
        assert "\n" not in mail.subject
        has_token = kind in (MailKind.RESET_PASSWORD, MailKind.VERIFY_EMAIL, MailKind.CHANGE_EMAIL)
        assert [(link or token) in part for part in (mail.text, mail.html)] == [has_token] * 2
        assert ("2030-01-02 03:04" in mail.text) == has_token
        assert all("Ada" in part for part in (mail.text, mail.html))


def test_what_a_person_chose_is_no_html() -> None:
    """A name with a tag is shown as it is written."""
    mail = MailTemplates("Shop").fill(MailKind.PASSWORD_CHANGED, token="", link="", **WORDS | {"name": "<b>Ada</b>"})
    assert "<b>" not in mail.html
    assert "<b>Ada</b>" in mail.text


def test_templates_of_an_operator_take_the_place_of_ours(tmp_path: Path) -> None:
    """One file at a time; what is not there is ours."""
    (tmp_path / "reset_password.txt").write_text("Subject: Passwort für {{ product }}\n\nHallo {{ name }}: {{ token }}\n")
    templates = MailTemplates("Laden", tmp_path)
    mail = templates.fill(MailKind.RESET_PASSWORD, token="t", link="", **WORDS)
    assert (mail.subject, mail.text) == ("Passwort für Laden", "Hallo Ada: t\n")
    assert "Choose" not in mail.text
    assert "Laden" in mail.html


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Hallo\n", r"reset_password.txt:1: must begin with `Subject:`"),
        ("Subject: x\n\n{{ tokn }}\n", r"reset_password.txt: 'tokn' is undefined"),
        ("Subject: x\n\n\n{% if %}\n", r"reset_password.txt:4: "),
    ],
)
def test_a_template_that_cannot_be_filled_in_stops_the_start(tmp_path: Path, content: str, said: str) -> None:
    """With its name and line, and not at the first mail."""
    (tmp_path / "reset_password.txt").write_text(content)
    with pytest.raises(ValueError, match=said):
        MailTemplates("Shop", tmp_path)


def test_a_token_is_the_mails_own(auth: Auth) -> None:
    """The same for the same mail, another for any other mail, kind, tenant or key; 256 bits that a URL can hold."""
    one, other = new_id(), new_id()
    tokens = MailTokens(b"key")
    token = tokens.token("default", one, MailKind.RESET_PASSWORD)
    assert token == MailTokens(b"key").token("default", one, MailKind.RESET_PASSWORD)
    others = [
        tokens.token("default", other, MailKind.RESET_PASSWORD),
        tokens.token("default", one, MailKind.VERIFY_EMAIL),
        tokens.token("another", one, MailKind.RESET_PASSWORD),
        MailTokens(b"other").token("default", one, MailKind.RESET_PASSWORD),
    ]
    assert len({token, *others}) == 5
    assert len(token) == 43


async def test_a_mail_that_is_not_taken_is_tried_again_and_is_the_same(auth: Auth) -> None:
    """Later and later; subject, words, token, date and id stay; then it is done."""
    await auth.register()
    await auth.passwords.forgot("ada@example.com", auth.origin)
    auth.post.fault = MailDelayedError("no connection")
    assert len(await auth.post.mails()) == 1
    assert (await auth.post.sender.health()).details == "mail is not taken: no connection"
    for seconds in (1, 4, 16):
        assert await auth.post.mails() == []
        auth.clock.advance(timedelta(seconds=seconds))
        assert len(await auth.post.mails()) == 1
    auth.post.fault = None
    auth.clock.advance(timedelta(seconds=64))
    assert len(await auth.post.mails()) == 1
    assert len(set(auth.post.sent)) == 1
    assert (await auth.post.sender.health()).details == ""
    auth.clock.advance(timedelta(hours=2))
    assert await auth.post.mails() == []


@pytest.mark.parametrize("fault", [MailRefusedError("the server refused it with 550"), None])
async def test_a_mail_is_given_up_for_good_or_with_its_token(auth: Auth, fault: Exception | None) -> None:
    """Refused by the server, or not sent while its token worked: the audit trail says so, by the account's id."""
    account = await auth.register()
    await auth.passwords.forgot("ada@example.com", auth.origin)
    auth.post.fault = fault
    if fault is None:
        auth.clock.advance(timedelta(hours=1))
    assert len(await auth.post.mails()) == (1 if fault else 0)
    record = auth.store.records[-1]
    assert (record.action, record.outcome, record.target) == ("auth.mail", Outcome.FAILURE, f"user:{account.id}")
    assert record.detail == {"kind": "reset_password", "why": str(fault or "expired")}
    auth.clock.advance(timedelta(minutes=10))
    assert await auth.post.mails() == []


async def test_a_mail_that_cannot_be_written_holds_up_no_other(auth: Auth) -> None:
    """A defect with one of them is logged; it is tried again until it is too old."""
    for name in ("ada", "eve"):
        await auth.register(f"{name}@example.com")
        await auth.passwords.forgot(f"{name}@example.com", auth.origin)
    send = auth.post.send

    async def fail(mail: Mail) -> None:
        if mail.to == "ada@example.com":
            raise LookupError
        await send(mail)

    auth.post.send = fail  # type: ignore[method-assign]
    assert [mail.to for mail in await auth.post.mails()] == ["eve@example.com"]
    auth.clock.advance(timedelta(seconds=40))
    auth.post.send = send  # type: ignore[method-assign]
    assert [mail.to for mail in await auth.post.mails()] == ["ada@example.com"]


async def test_a_mail_that_was_taken_by_one_who_died_is_sent_by_another(auth: Auth) -> None:
    """After twice the time that handing it over may take, and not before."""
    await auth.register()
    await auth.passwords.forgot("ada@example.com", auth.origin)
    (taken,) = await auth.store.mails().take(auth.clock(), auth.clock() + timedelta(seconds=40), 8)
    auth.clock.advance(timedelta(seconds=39))
    assert await auth.post.mails() == []
    auth.clock.advance(timedelta(seconds=1))
    assert [mail.id for mail in await auth.post.mails()] == [taken.id]


async def test_mail_in_development_lies_in_a_folder(tmp_path: Path) -> None:
    """A file for each mail, for its owner only, the same file when it is sent again; the newest are kept."""
    folder = tmp_path / "mail"
    transport = FolderTransport(folder, "Shop <no-reply@shop.example>")
    first = Mail(new_id(), "élan@example.com", "Grüße", "Hello\n", "<p>Hello</p>", datetime.now(UTC))
    for _ in range(2):
        await transport.send(first)
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    message = message_from_bytes(file.read_bytes(), policy=default)
    assert (message["To"], message["From"], message["Subject"]) == ("élan@example.com", "Shop <no-reply@shop.example>", "Grüße")
    assert message["Message-ID"] == f"<{first.id}@shop.example>"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    (tmp_path / "file").touch()
    with pytest.raises(MailDelayedError):
        await FolderTransport(tmp_path / "file", "a@b.example").send(first)
