"""Shapes of accounts and sessions."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from stylobate_gateway.schemas.common import TEXT, Input

_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = "[A-Za-z0-9](-?[A-Za-z0-9]){0,31}"
_EMAIL = rf"^{_ATOM}(\.{_ATOM})*@({_LABEL}\.)+[A-Za-z]{{2,63}}$"


_TEXT: dict[str, Any] = {"pattern": TEXT}


def _shown_name(schema: dict[str, Any]) -> None:
    """Leave the default out of the document: generators take a field that has one for a field that is always there."""
    schema.pop("default", None)
    schema["pattern"] = r"^[^\u0000-\u001f\u007f-\u009f]*$"


class Register(Input):
    """Who wants an account."""

    email: str = Field(
        max_length=254,
        description="Addresses in other scripts than ASCII are taken too.",
        examples=["ada@example.com"],
        json_schema_extra={"pattern": _EMAIL},
    )
    password: str = Field(min_length=8, max_length=1024, examples=["correct horse battery"], json_schema_extra=_TEXT)
    display_name: str = Field("", max_length=100, json_schema_extra=_shown_name)


class FirstAdmin(Register):
    """Who becomes the first administrator."""

    token: str = Field(max_length=512, description="Of the link that the operator was given.", json_schema_extra=_TEXT)


class Login(Input):
    """Proof of an account."""

    email: str = Field(max_length=254, examples=["ada@example.com"], json_schema_extra=_TEXT)
    password: str = Field(max_length=1024, examples=["correct horse battery"], json_schema_extra=_TEXT)


class Refresh(Input):
    """A refresh token to exchange."""

    refresh_token: str = Field(max_length=512, json_schema_extra=_TEXT)


class PasswordChange(Input):
    """A new password for the token's account."""

    current_password: str = Field(max_length=1024, examples=["correct horse battery"], json_schema_extra=_TEXT)
    new_password: str = Field(min_length=8, max_length=1024, examples=["another horse and battery"], json_schema_extra=_TEXT)


class PasswordForgotten(Input):
    """An address whose password is forgotten."""

    email: str = Field(max_length=254, examples=["ada@example.com"], json_schema_extra=_TEXT)


class PasswordReset(Input):
    """Another password, by the token of a mail."""

    token: str = Field(max_length=512, json_schema_extra=_TEXT)
    new_password: str = Field(min_length=8, max_length=1024, examples=["another horse and battery"], json_schema_extra=_TEXT)


class EmailChange(Input):
    """Another address for the token's account, and its password."""

    email: str = Field(max_length=254, examples=["ada@example.org"], json_schema_extra={"pattern": _EMAIL})
    password: str = Field(max_length=1024, examples=["correct horse battery"], json_schema_extra=_TEXT)


class EmailProof(Input):
    """The token of a mail that proves an address."""

    token: str = Field(max_length=512, json_schema_extra=_TEXT)


class Farewell(Input):
    """Who deletes the own account."""

    password: str = Field(max_length=1024, examples=["correct horse battery"], json_schema_extra=_TEXT)


class Profile(Input):
    """What others may see of the token's account."""

    display_name: str = Field(max_length=100, examples=["Ada"], json_schema_extra=_shown_name)


class User(BaseModel):
    """An account."""

    id: str
    email: str
    display_name: str
    roles: list[str]
    email_verified: bool
    created_at: datetime


class Registered(BaseModel):
    """The new account."""

    user: User


class Session(BaseModel):
    """A session's tokens and whose it is."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  RFC 6750
    expires_in: int = Field(description="Seconds that the access token holds.")
    user: User


class BrowserSession(BaseModel):
    """A session whose tokens are in cookies, and whose it is."""

    csrf_token: str = Field(description="To be sent as `X-CSRF-Token` with every change; the same as long as the session lives.")
    expires_in: int = Field(description="Seconds that the access token holds; it is renewed by any request after that.")
    user: User


class OpenSession(BaseModel):
    """A session that lives."""

    id: str
    opened_at: datetime
    seen_at: datetime = Field(description="When it was refreshed last, or opened.")
    expires_at: datetime = Field(description="When it ends unless it is refreshed.")
    address: str = Field(description="Of its client then; may be empty.")
    agent: str = Field(description="What its client called itself then; may be empty.")
    device: str = Field(description="What that is for people: `Firefox on Linux`; may be empty.")
    current: bool = Field(description="Whether it is the one of the token that asks.")


class SessionList(BaseModel):
    """A page of sessions, the newest first."""

    items: list[OpenSession]
    next_page_token: str | None = Field(description="null on the last page.")
