"""Addresses."""

import pytest
from stylobate.database.address import hosts, seeking


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:secret@db:5433/shop", "db:5433/shop"),
        ("postgresql://user:secret@a,b:5433/shop?sslmode=verify-full", "a,b:5433/shop"),
        ("postgresql://user@/shop?host=/run/x&port=5432", "/run/x/shop"),
        ("postgresql:///shop", "localhost/shop"),
    ],
)
def test_logs_show_where_and_never_who(url, shown):
    """Servers and database are named, user and password are not."""
    assert hosts(url) == shown


@pytest.mark.parametrize(
    ("url", "read_only", "expected"),
    [
        ("postgresql://db/shop", False, "postgresql://db/shop"),
        ("postgresql://a,b/shop", False, "postgresql://a,b/shop?target_session_attrs=read-write"),
        (
            "postgresql://a,b/shop?sslmode=require",
            True,
            "postgresql://a,b/shop?sslmode=require&target_session_attrs=prefer-standby",
        ),
        ("postgresql://a,b/shop?target_session_attrs=any", False, "postgresql://a,b/shop?target_session_attrs=any"),
        ("postgresql://u@/shop?host=/x,/y", False, "postgresql://u@/shop?host=/x,/y&target_session_attrs=read-write"),
    ],
)
def test_of_several_servers_the_wanted_kind_is_named(url, read_only, expected):
    """Writers seek the writer and readers a standby, unless the URL has its own mind."""
    assert seeking(url, read_only=read_only) == expected
