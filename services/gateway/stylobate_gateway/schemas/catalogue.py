"""Shapes of the catalogue of actions and modules, and of keys."""

from typing import Any

from pydantic import BaseModel, Field


class ActionEntry(BaseModel):
    """An action that a module declares."""

    name: str
    module: str
    summary: str
    route: str | None
    access: str = Field(description="A permission, `authenticated` or `public`.")
    rate_limit: str | None
    timeout_seconds: float
    input: dict[str, Any] | None = Field(description="JSON Schema 2020-12; null where it takes none.")
    output: dict[str, Any] | None = Field(description="JSON Schema 2020-12.")


class ActionList(BaseModel):
    """A page of actions, in the order of their names."""

    items: list[ActionEntry]
    next_page_token: str | None = Field(description="null on the last page.")


class ModuleEntry(BaseModel):
    """A module and how it is."""

    name: str
    version: str
    description: str
    status: str
    detail: str | None
    dependencies: list[str]
    actions: list[str]


class ModuleList(BaseModel):
    """A page of modules."""

    items: list[ModuleEntry]
    next_page_token: str | None = Field(description="null on the last page.")


class Jwk(BaseModel):
    """A public key (RFC 8037)."""

    kty: str
    crv: str
    x: str
    kid: str
    alg: str
    use: str


class JwkSet(BaseModel):
    """The keys that access tokens are signed with (RFC 7517)."""

    keys: list[Jwk]
