"""Shapes of API keys."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from stylobate_gateway.schemas.common import TEXT, Input, Moment, in_path

_SCOPE = r"^(\*|authenticated|owner|[a-z][a-z0-9_-]*(:[a-z0-9][a-z0-9_-]*)*:(\*|[a-z0-9][a-z0-9_-]*))$"
_RATE = r"^[1-9][0-9]{0,5}/(second|minute|hour|day)( burst [1-9][0-9]{0,5})?$"
_EXAMPLE = "01a20883-0000-7000-8000-000000000000"
KeyId = Annotated[str, in_path("^[0-9a-f-]+$", 36, _EXAMPLE, "The key's id.")]
RateLimit = Annotated[str, Field(min_length=1, max_length=64, json_schema_extra={"pattern": _RATE})]
_TEXT: dict[str, Any] = {"pattern": TEXT}
_Number = Annotated[str, Field(min_length=1, max_length=2048, json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"})]
_SHORTEST, _LONGEST = 600, 2_592_000


def _overlap(seconds: int) -> int:
    if seconds and not _SHORTEST <= seconds <= _LONGEST:
        raise PydanticCustomError("overlap", f"must be 0 or {_SHORTEST} to {_LONGEST} seconds")
    return seconds


class PublicJwk(Input):
    """A JSON Web Key (RFC 7517): Ed25519 (`OKP`), P-256 (`EC`) or RSA of 2048 bits and more; no private member."""

    kty: Literal["OKP", "EC", "RSA"]
    crv: Literal["Ed25519", "P-256"] | None = Field(None, description="Of `OKP` and `EC`.")
    x: _Number | None = Field(None, description="Of `OKP` and `EC`.")
    y: _Number | None = Field(None, description="Of `EC`.")
    n: _Number | None = Field(None, description="Of `RSA`.")
    e: Literal["AQAB"] | None = Field(None, description="Of `RSA`.")
    kid: Annotated[str, Field(min_length=1, max_length=128, json_schema_extra={"pattern": "^[!-~]+$"})] | None = Field(
        None, description="By which what is signed may name it, else its RFC 7638 thumbprint."
    )
    alg: Literal["EdDSA", "Ed25519", "ES256", "PS256", "RS256"] | None = Field(
        None, description="The one that it is for; without it all that such a key can."
    )
    use: Literal["sig"] | None = None
    key_ops: Annotated[list[Literal["verify"]], Field(min_length=1, max_length=1)] | None = None
    ext: bool | None = Field(None, description="As the browsers' WebCrypto writes it; not kept.")


class ApiKeyCreate(Input):
    """A key to make."""

    name: str = Field(min_length=1, max_length=100, description="What people call it.", examples=["nightly import"])
    scopes: list[Annotated[str, Field(max_length=256, json_schema_extra={"pattern": _SCOPE})]] = Field(
        default_factory=list,
        max_length=64,
        description="What it may be used for: permissions (`orders:read`, `orders:*`, `*`), and the words `authenticated` and "
        "`owner` of access rules; never more than its owner may do at that moment. Without any: what is public.",
        examples=[["orders:read"]],
    )
    expires_at: Moment | None = Field(None, description="In the future; without it, it holds until it is revoked.")
    allowed_cidrs: list[Annotated[str, Field(max_length=64, json_schema_extra=_TEXT)]] = Field(
        default_factory=list,
        max_length=64,
        description="Networks and addresses that it is taken from; none: from everywhere.",
        examples=[["192.0.2.0/24"]],
    )
    rate_limit: RateLimit | None = Field(
        None,
        description="How many requests it is good for, beside all other limits: `100/minute`, `10/second burst 50`.",
        examples=["100/minute"],
    )
    public_key: PublicJwk | None = Field(
        None,
        description="For a service account: by which it proves itself as a client of OAuth 2.0 (`private_key_jwt`), in place of "
        "a secret. What is signed by the other half is good at `/oauth2` alone.",
        examples=[{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}],
    )
    owner: str | None = Field(
        None,
        max_length=36,
        json_schema_extra={"pattern": "^[0-9a-f-]+$"},
        description="The account that it is for, else the caller's own. Another's takes `api_keys:write` and what that may do.",
    )


class ApiKeyRotate(Input):
    """How long the old one still holds."""

    overlap_seconds: Annotated[int, AfterValidator(_overlap)] = Field(
        86_400,
        description="Seconds: 0, which ends it at once, or 600 to 2592000.",
        examples=[86_400],
        json_schema_extra={"anyOf": [{"const": 0}, {"minimum": _SHORTEST, "maximum": _LONGEST}]},
    )
    public_key: PublicJwk | None = Field(None, description="The successor's, where the key has one.")


class ApiKeyPatch(Input):
    """What of a key can be changed."""

    rate_limit: RateLimit | None = Field(description="The limit of its own that it has from now on; null: none.")


class ApiKey(BaseModel):
    """A key, without its secret."""

    id: str
    owner: str = Field(description="The account whose key it is.")
    name: str
    prefix: str = Field(description="How its text begins: all but the secret. Empty for one with a public key.")
    scopes: list[str]
    allowed_cidrs: list[str]
    created_at: datetime
    expires_at: datetime | None = Field(description="null: never.")
    last_used_at: datetime | None = Field(description="To about ten minutes; null: never.")
    revoked_at: datetime | None = Field(description="null: it was not.")
    replaced_by: str | None = Field(description="The key that it was exchanged for.")
    rate_limit: str | None = Field(description="Its own limit; null: none.")
    public_key: dict[str, str] | None = Field(description="A JSON Web Key, of a client of OAuth 2.0; null: it has a secret.")


class ApiKeyIssued(ApiKey):
    """A key with its text."""

    key: str | None = Field(
        description="Its text, told this once. null for a public key, and in an answer that comes again for an `Idempotency-Key`."
    )


class ApiKeyList(BaseModel):
    """A page of keys, in the order in which they were made."""

    items: list[ApiKey]
    next_page_token: str | None = Field(description="null on the last page.")
