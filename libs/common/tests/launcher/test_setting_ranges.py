"""Every setting of every service says its range: what is out of it is refused by `config check`, in one line that names it."""

from datetime import timedelta
from typing import Any

import pytest
from stylobate.app import HostSettings
from stylobate.config import ConfigError, Settings, Sources
from stylobate.launcher.setting_findings import findings, unknown
from stylobate.services import installed_services

KINDS: list[type[Settings]] = [HostSettings, *(spec.settings for spec in installed_services().values())]
FIELDS = [(kind, name) for kind in KINDS for name in kind.model_fields]
HOSTILE = (
    "-1",
    "-1s",
    "1e400",
    "nan",
    "inf",
    "99999999999999999999d",
    "0x10",
    "\x00",
    "a\x1bb",
    "999999999999999999999999",
    "true",
)


def variable(kind: type[Settings], name: str) -> str:
    """Return the environment variable of a field."""
    return kind.variable(name)


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=lambda part: part if isinstance(part, str) else part.__name__)
def test_no_value_ends_in_anything_but_a_finding(kind, name, tmp_path) -> None:
    """Whatever stands there, it is taken or refused by name; what is negative, endless or holds a NUL is never taken."""
    for value in HOSTILE:
        sources, refused = Sources({variable(kind, name): value}, (), tmp_path), []
        try:
            taken: Any = getattr(kind.load(sources), name)
        except ConfigError as error:
            refused = error.findings
        assert all(finding.startswith("STYLOBATE_") for finding in refused), refused
        if refused:
            continue
        if isinstance(taken, (int, float)):
            assert 0 <= taken <= 2**53, (name, value, taken)
        elif isinstance(taken, timedelta):
            assert timedelta(0) <= taken <= timedelta(days=3650)
        elif isinstance(taken, str):
            assert "\0" not in taken


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "redis http://x"),
        ("REDIS_URL", "http://x"),
        ("REDIS_URL", "redis://x:port"),
        ("REDIS_URL", "unix://"),
        ("DATABASE_URL", "mysql://root@x/y"),
        ("DATABASE_URL", "postgresql://x:99999/y"),
        ("DATABASE_POOL_SIZE", "0"),
        ("TRACE_RATIO", "2"),
        ("TRACE_ENDPOINT", "collector:4317"),
        ("TRACE_ENDPOINT", "http://"),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("GATEWAY_CORS_ORIGINS", "app.example.com"),
        ("GATEWAY_CORS_ORIGINS", "https://app.example.com/path"),
        ("GATEWAY_MAX_BODY_BYTES", "-1"),
        ("GATEWAY_MAX_BODY_BYTES", "0"),
        ("GATEWAY_CATALOGUE_SECONDS", "0"),
        ("REALTIME_ALLOWED_ORIGINS", "null"),
        ("RATELIMIT_REDIS_TIMEOUT", "0s"),
        ("STATE_MAX_DATA_BYTES", "1"),
        ("LOG_LEVEL", "loud"),
        *(
            ("ADMIN_HOSTS", text)
            for text in ("http://a.example", "a.example:8081", "a..example", "*.example", "a b", "-a", "é", "a" * 300)
        ),
        ("GATEWAY_HOSTS", "https://dev.shop.example"),
        ("GATEWAY_HOSTS", "dev.shop.example:8080"),
        ("HTTP_CONNECTIONS", "99999999999999999999"),
        ("AUTH_ARGON2_MEMORY_KIB", "4294967296"),
        ("AUTH_ARGON2_TIME_COST", "4294967296"),
        ("AUTH_ARGON2_PARALLELISM", "65"),
        ("AUTH_HASHING_THREADS", "100000"),
        *((f"{name}_KEY", "x" * 31) for name in ("BACKUP", "AUTH_KEY_ENCRYPTION", "AUTH_ENCRYPTION", "STATE_ENCRYPTION")),
        ("ENVIRONMENT", "prod"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_start(name, value, tmp_path) -> None:
    """By its variable and what is wrong with it, once."""
    (finding,) = findings(Sources({f"STYLOBATE_{name}": value}, (), tmp_path))
    assert finding.startswith(f"STYLOBATE_{name}: ")
    assert f"from environment STYLOBATE_{name}" in finding


@pytest.mark.parametrize(
    "hosts", ["gateway", "stylobate-gateway.shop.svc", "a.example,B.EXAMPLE", "_a.example", "xn--bcher-kva.example"]
)
def test_host_names_are_taken(hosts, tmp_path) -> None:
    """As they stand in DNS and in a cluster."""
    assert HostSettings.load(Sources({"STYLOBATE_ADMIN_HOSTS": hosts}, (), tmp_path)).admin_hosts == tuple(hosts.split(","))


def test_a_mistyped_setting_is_pointed_out() -> None:
    """With the name that was probably meant; what is a setting of something is not."""
    taken = {variable(kind, name): "" for kind, name in FIELDS} | {
        "STYLOBATE_MODULE_SHOP_PAGE_SIZE": "",
        "STYLOBATE_STATE_ADDRESS": "",
    }
    assert unknown(taken | {"PATH": "", "STYLOBATE_STATE_REDIS_URL": ""}) == []
    assert unknown({"STYLOBATE_REDIS_ULR": "", "STYLOBATE_0": ""}) == [
        "STYLOBATE_0 is not a setting",
        "STYLOBATE_REDIS_ULR is not a setting; did you mean STYLOBATE_REDIS_URL?",
    ]


def test_an_empty_setting_is_not_set(tmp_path) -> None:
    """An empty variable is how one is taken back: the default holds."""
    empty = {variable(kind, name): "" for kind, name in FIELDS}
    for kind in KINDS:
        assert kind.load(Sources(empty, (), tmp_path)) == kind.load(Sources({}, (), tmp_path))
