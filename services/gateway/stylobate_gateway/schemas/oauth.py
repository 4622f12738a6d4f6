"""Shapes of OAuth 2.0: its forms, whose other fields are passed over (RFC 6749 §3.2), and its answers."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_VISIBLE: dict[str, Any] = {"pattern": "^[ -~]*$"}


class _Client(BaseModel):
    """Who asks, where it does not say so by `Authorization: Basic`."""

    client_id: str | None = Field(None, description="The id of a service account.", json_schema_extra=_VISIBLE)
    client_secret: str | None = Field(None, description="One of its API keys (`client_secret_post`).", json_schema_extra=_VISIBLE)
    client_assertion_type: Literal["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"] | None = None
    client_assertion: str | None = Field(
        None,
        description="In place of a secret, what the client signed by one of its keys (`private_key_jwt`).",
        json_schema_extra=_VISIBLE,
    )


class OAuthTokenForm(_Client):
    """A request at the token endpoint (RFC 6749)."""

    grant_type: Literal["client_credentials", "refresh_token"]
    scope: str | None = Field(
        None,
        description="Scopes of the client's key, with spaces between; without it all of them.",
        examples=["orders:read"],
        json_schema_extra=_VISIBLE,
    )
    refresh_token: str | None = Field(None, description="Of a session, for `refresh_token`.", json_schema_extra=_VISIBLE)


class OAuthTokenQuestion(_Client):
    """A token to look at or to end (RFC 7662, RFC 7009)."""

    token: str = Field(min_length=1, max_length=8192, json_schema_extra={"pattern": "^[ -~]+$"})
    token_type_hint: str | None = Field(None, description="Not needed: a token says what it is.", json_schema_extra=_VISIBLE)


class OAuthToken(BaseModel):
    """What was granted."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Seconds.")
    scope: str = Field("", description="Absent for a session's token, which is not narrowed.")
    refresh_token: str = Field("", description="The next one, for `refresh_token`.")


class OAuthTokenFacts(BaseModel):
    """How a token stands; all but `active` only when it holds and the client may know."""

    model_config = ConfigDict(extra="allow")

    active: bool


class OAuthTokenEnded(BaseModel):
    """Nothing: it is over, or was never good."""


class OAuthError(BaseModel):
    """A refusal (RFC 6749 §5.2)."""

    error: str = Field(examples=["invalid_client"])
    error_description: str


class OAuthMetadata(BaseModel):
    """What there is (RFC 8414)."""

    model_config = ConfigDict(extra="allow")

    issuer: str
    token_endpoint: str
    introspection_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    response_types_supported: list[str]
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]


FORMS: dict[str, Any] = {form.__name__: form.model_json_schema() for form in (OAuthTokenForm, OAuthTokenQuestion)}
"""Schemas of the forms, which the routes read by themselves."""
