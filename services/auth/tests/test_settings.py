"""The settings of auth."""

from pathlib import Path

import pytest
from stylobate.config import ConfigError, Sources
from stylobate_auth.password_hasher import PasswordHasher
from stylobate_auth.settings import AuthSettings

KEY = {"STYLOBATE_AUTH_SIGNING_KEY": "k" * 32}

MAIL = {"STYLOBATE_AUTH_SMTP_HOST": "mail.example", "STYLOBATE_AUTH_MAIL_FROM": "Shop <no-reply@shop.example>"}
PRODUCTION = {"STYLOBATE_ENVIRONMENT": "production"}


def _load(**environ: str) -> AuthSettings:
    return AuthSettings.load(Sources(environ=KEY | environ, folders=()))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "open"),
        (PRODUCTION | MAIL, "verified"),
        (PRODUCTION | MAIL | {"STYLOBATE_ENVIRONMENT": "staging"}, "verified"),
        (PRODUCTION | {"STYLOBATE_AUTH_REGISTRATION": "open"}, "open"),
        (PRODUCTION | {"STYLOBATE_AUTH_REGISTRATION": "closed"}, "closed"),
        ({"STYLOBATE_AUTH_REGISTRATION": "verified"}, "verified"),
    ],
    ids=str,
)
def test_registration_is_open_in_development_only(environ: dict[str, str], expected: str) -> None:
    """Elsewhere addresses are proven, unless somebody said otherwise."""
    assert _load(**environ).registers == expected


@pytest.mark.parametrize("said", [{}, {"STYLOBATE_AUTH_REGISTRATION": "verified"}])
def test_registration_by_mail_without_mail_stops_the_start(said: dict[str, str]) -> None:
    """One clear line, which says what would do; that it is the default where nobody said it."""
    with pytest.raises(ConfigError) as stopped:
        _load(**PRODUCTION | said)
    (finding,) = stopped.value.findings
    assert finding.startswith("STYLOBATE_AUTH_REGISTRATION=verified")
    assert "needs mail: set STYLOBATE_AUTH_SMTP_HOST and STYLOBATE_AUTH_MAIL_FROM, or " in finding
    assert ("the default outside development" in finding) == (not said)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"STYLOBATE_AUTH_SMTP_HOST": "mail"}, "SMTP_HOST needs STYLOBATE_AUTH_MAIL_FROM"),
        (MAIL | {"STYLOBATE_AUTH_SMTP_SECURITY": "none", "STYLOBATE_AUTH_SMTP_USER": "shop"}, "in the clear"),
        ({"STYLOBATE_AUTH_MAIL_FROM": "Shop"}, "must be an address"),
        ({"STYLOBATE_AUTH_MAIL_FROM": "Shop <a@b.example>\nBcc: x@y.example"}, "must be an address"),
        ({"STYLOBATE_AUTH_MAIL_RESET_LINK": "https://shop.example/reset"}, "with {token} in it"),
        ({"STYLOBATE_AUTH_MAIL_VERIFY_LINK": "javascript:{token}"}, "with {token} in it"),
        ({"STYLOBATE_AUTH_MAIL_TEMPLATES": "/nowhere"}, "/nowhere: there is no such folder"),
        ({"STYLOBATE_AUTH_BREACHED_PASSWORDS": "/nowhere"}, "No such file"),
        ({"STYLOBATE_AUTH_SMTP_SECURITY": "ssl"}, "STYLOBATE_AUTH_SMTP_SECURITY"),
    ],
    ids=str,
)
def test_mail_that_cannot_be_sent_stops_the_start(environ: dict[str, str], said: str) -> None:
    """What would fail at the first mail fails before."""
    with pytest.raises(ConfigError) as stopped:
        _load(**environ)
    assert said in "\n".join(stopped.value.findings)


@pytest.mark.parametrize(
    ("lifetimes", "said"),
    [
        ({"REFRESH_TOKEN_LIFETIME": "400d"}, "refresh_token_lifetime must not be longer than session_lifetime"),
        ({"SESSION_LIFETIME": "7d"}, "refresh_token_lifetime must not be longer than session_lifetime"),
        ({"REFRESH_TOKEN_LIFETIME": "5m"}, "access_token_lifetime must not be longer than refresh_token_lifetime"),
        ({"REFRESH_GRACE": "10s", "ACCESS_TOKEN_LIFETIME": "10s"}, "refresh_grace must be shorter than access_token_lifetime"),
        ({"REFRESH_GRACE": "2m"}, "less than or equal to 1 minute"),
        ({"SESSION_LIFETIME": "7d", "REFRESH_TOKEN_LIFETIME": "7d", "REFRESH_GRACE": "0s"}, ""),
    ],
)
def test_lifetimes_that_contradict_each_other_stop_the_start(lifetimes: dict[str, str], said: str) -> None:
    """The line names both."""
    environ = {f"STYLOBATE_AUTH_{name}": value for name, value in lifetimes.items()}
    if not said:
        assert _load(**environ).lifetimes.sliding == _load(**environ).lifetimes.absolute
        return
    with pytest.raises(ConfigError) as stopped:
        _load(**environ)
    assert said in "\n".join(stopped.value.findings)


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_a_mail_server_has_the_usual_port(security: str, port: int) -> None:
    """Of its kind of security, unless said otherwise."""
    server = _load(**MAIL, STYLOBATE_AUTH_SMTP_SECURITY=security).smtp
    assert server is not None
    assert (server.host, server.port, server.security) == ("mail.example", port, security)
    other = _load(**MAIL, STYLOBATE_AUTH_SMTP_SECURITY=security, STYLOBATE_AUTH_SMTP_PORT="2525").smtp
    assert other is not None
    assert other.port == 2525


def test_durations_read_like_durations() -> None:
    """``15m`` and ``7d`` are understood, and limits hold."""
    settings = _load(STYLOBATE_AUTH_ACCESS_TOKEN_LIFETIME="15m", STYLOBATE_AUTH_REFRESH_TOKEN_LIFETIME="7d")
    assert settings.access_token_lifetime.total_seconds() == 900
    assert settings.refresh_token_lifetime.days == 7
    with pytest.raises(ConfigError):
        _load(STYLOBATE_AUTH_ACCESS_TOKEN_LIFETIME="2h")


def test_the_signing_key_is_generated_in_development_only(tmp_path: Path) -> None:
    """A missing key is made once on a laptop and stops the start elsewhere."""
    sources = Sources(environ={}, folders=(), generated=tmp_path)
    assert AuthSettings.load(sources).signing_key == AuthSettings.load(sources).signing_key != ""
    with pytest.raises(ConfigError, match="STYLOBATE_AUTH_SIGNING_KEY: missing secret"):
        AuthSettings.load(Sources(environ=PRODUCTION, folders=()))


def _costs(memory: str, lanes: str) -> dict[str, str]:
    return {"STYLOBATE_AUTH_ARGON2_MEMORY_KIB": memory, "STYLOBATE_AUTH_ARGON2_PARALLELISM": lanes}


@pytest.mark.parametrize(("memory", "lanes"), [("8", "1"), ("16", "2"), ("512", "64")])
async def test_what_is_taken_can_hash(memory: str, lanes: str) -> None:
    """Argon2 needs 8 KiB for each lane (RFC 9106 section 3.1), and no more."""
    settings = _load(**_costs(memory, lanes))
    costs = {"memory_kib": settings.argon2_memory_kib, "time_cost": 1, "parallelism": settings.argon2_parallelism}
    async with PasswordHasher.open(**costs, threads=1, queue=1) as hasher:
        assert await hasher.verify(await hasher.hash("password"), "password")


@pytest.mark.parametrize(("memory", "lanes"), [("8", "2"), ("15", "2"), ("511", "64")])
def test_what_cannot_hash_is_refused_at_the_start(memory: str, lanes: str) -> None:
    """Not at the first login."""
    with pytest.raises(ConfigError, match="argon2_memory_kib must be at least 8 for each lane"):
        _load(**_costs(memory, lanes))
