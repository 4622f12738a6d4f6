"""The settings of auth."""

from pathlib import Path

import pytest
from stylobate.config import ConfigError, Sources
from stylobate_auth.password_hasher import PasswordHasher
from stylobate_auth.settings import AuthSettings

KEY = {"STYLOBATE_AUTH_SIGNING_KEY": "k" * 32}


def _load(**environ: str) -> AuthSettings:
    return AuthSettings.load(Sources(environ=KEY | environ, folders=()))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, True),
        ({"STYLOBATE_ENVIRONMENT": "staging"}, False),
        ({"STYLOBATE_ENVIRONMENT": "production"}, False),
        ({"STYLOBATE_ENVIRONMENT": "production", "STYLOBATE_AUTH_REGISTRATION": "open"}, True),
        ({"STYLOBATE_AUTH_REGISTRATION": "closed"}, False),
    ],
    ids=str,
)
def test_registration_is_open_in_development_only(environ: dict[str, str], expected: bool) -> None:
    """Elsewhere somebody must have said so."""
    assert _load(**environ).is_registration_open is expected


def test_registration_by_mail_is_refused_at_start() -> None:
    """What cannot be carried out yet is one clear line."""
    with pytest.raises(ConfigError) as stopped:
        _load(STYLOBATE_AUTH_REGISTRATION="verified")
    (finding,) = stopped.value.findings
    assert finding.startswith("STYLOBATE_AUTH_REGISTRATION: ")
    assert "sends mail" in finding


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
        AuthSettings.load(Sources(environ={"STYLOBATE_ENVIRONMENT": "production"}, folders=()))


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
