"""What mails say: Jinja2 templates, each in plain text and in HTML; an operator's own take the place of ours."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stylobate_auth.mail.kinds import MailKind

if TYPE_CHECKING:
    from jinja2 import Environment

_SUBJECT = "Subject: "


@dataclass(frozen=True, slots=True)
class MailContent:
    """A mail's words."""

    subject: str
    text: str
    html: str


class MailTemplates:
    """Writes mails. ``<kind>.txt`` begins with ``Subject: …`` and an empty line; ``<kind>.html`` says the same.

    Jinja2 is imported for an operator's templates, and else for the first mail: it takes 3 MB, and many processes never send one.
    They know ``product``, ``name`` and ``email`` of the account, ``token`` and ``link`` (may be empty), ``expires_at``.

    :param folder: templates that take the place of ours; one that is not there is ours. None: all are.
    :raises ValueError: there is a folder, and one of them cannot be filled in, with file and line.
    """

    def __init__(self, product: str, folder: Path | None = None) -> None:
        self._product = product
        self._folder = folder
        if folder is not None:
            for kind in MailKind:
                for token in ("", "token"):
                    self.fill(kind, name="Ada", email="ada@example.com", token=token, link=token, expires_at=datetime.now(UTC))

    @cached_property
    def environment(self) -> "Environment":
        """What fills them in. The first call imports it, in some hundredths of a second."""
        from jinja2 import (  # noqa: PLC0415
            ChoiceLoader,
            Environment,
            FileSystemLoader,
            PackageLoader,
            StrictUndefined,
            select_autoescape,
        )

        own = [FileSystemLoader(self._folder)] if self._folder is not None else []
        return Environment(
            loader=ChoiceLoader([*own, PackageLoader("stylobate_auth.mail")]),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
        )

    def fill(self, kind: MailKind, *, name: str, email: str, token: str, link: str, expires_at: datetime) -> MailContent:
        """Return a mail's words. Raises ValueError."""
        known = {
            "product": self._product,
            "name": name,
            "email": email,
            "token": token,
            "link": link,
            "expires_at": expires_at,
        }
        text, html = (self._render(f"{kind.value}.{ending}", known) for ending in ("txt", "html"))
        first, _, rest = text.partition("\n")
        if not first.startswith(_SUBJECT):
            raise ValueError(f"{kind.value}.txt:1: must begin with `{_SUBJECT.strip()}` and what the mail is about")
        return MailContent(" ".join(first.removeprefix(_SUBJECT).split()), rest.lstrip("\r\n"), html)

    def _render(self, name: str, known: dict[str, object]) -> str:
        environment = self.environment
        from jinja2 import TemplateError  # noqa: PLC0415  see there

        try:
            return environment.get_template(name).render(known)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise ValueError(f"{name}{'' if line is None else f':{line}'}: {error.message or type(error).__name__}") from error
