"""Shapes of accounts and sessions."""

from datetime import datetime

from pydantic import BaseModel, Field

from stylobate_gateway.schemas.common import Input


class Register(Input):
    """Who wants an account."""

    email: str = Field(max_length=254, examples=["ada@example.com"])
    password: str = Field(min_length=8, max_length=1024, examples=["correct horse battery"])
    display_name: str = Field("", max_length=100)


class Login(Input):
    """Proof of an account."""

    email: str = Field(max_length=254, examples=["ada@example.com"])
    password: str = Field(max_length=1024, examples=["correct horse battery"])


class Refresh(Input):
    """A refresh token to exchange; it works once."""

    refresh_token: str = Field(max_length=512)


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
    token_type: str = "Bearer"  # noqa: S105  RFC 6750
    expires_in: int
    user: User
