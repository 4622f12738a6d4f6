"""Addresses."""

import pytest
from stylobate.redis.address import RedisAddress


@pytest.mark.parametrize(
    ("url", "path", "hosts", "database"),
    [
        ("redis://localhost", "", (("localhost", 6379),), 0),
        ("redis://cache:7000/3", "", (("cache", 7000),), 3),
        ("redis://:pw@a,b:6380/1", "", (("a", 6379), ("b", 6380)), 1),
        ("rediss://u:p%40w@[::1]:6379", "", (("::1", 6379),), 0),
        ("unix:///run/v.sock?db=2", "/run/v.sock", (), 2),
        ("unix:///run/v.sock", "/run/v.sock", (), 0),
    ],
)
def test_addresses_are_read(url, path, hosts, database):
    """Each form gives its parts."""
    address = RedisAddress.parse(url)
    assert (address.path, address.hosts, address.database) == (path, hosts, database)
    assert (address.tls is not None) == url.startswith("rediss")


def test_credentials_are_read_and_never_shown():
    """User and password are decoded, and stand in no text about the address."""
    address = RedisAddress.parse("rediss://user:p%40ss@cache:1")
    assert (address.username, address.password) == ("user", "p@ss")
    assert "p@ss" not in f"{address} {address!r}"


@pytest.mark.parametrize("url", ["http://cache", "redis://cache/x", "cache:6379"])
def test_what_is_no_address_is_refused(url):
    """A bad URL is an error at the start."""
    with pytest.raises(ValueError, match="Redis URL"):
        RedisAddress.parse(url)
