"""Argon2id in memory that is kept."""

from concurrent.futures import ThreadPoolExecutor

import argon2
import pytest
from argon2.low_level import Type
from stylobate_auth.argon2id import Argon2id

COSTS = {"time_cost": 2, "parallelism": 1}
KIB = 1024


@pytest.mark.parametrize("parallelism", [1, 2])
def test_hashes_are_those_of_everybody_else(parallelism: int) -> None:
    """What is made here is right for the library's own way, and the other way round, with any of its kinds and parameters."""
    ours = Argon2id(time_cost=2, memory_kib=64, parallelism=parallelism)
    theirs = argon2.PasswordHasher(time_cost=2, memory_cost=64, parallelism=parallelism)
    made = ours.hash("p\u00e4ssword")
    assert theirs.verify(made, "p\u00e4ssword")
    assert not theirs.check_needs_rehash(made)
    assert ours.matches(theirs.hash("p\u00e4ssword"), "p\u00e4ssword")
    for kind in Type:
        other = argon2.PasswordHasher(time_cost=1, memory_cost=32, hash_len=16, salt_len=8, type=kind).hash("x")
        assert ours.matches(other, "x")
        assert not ours.matches(other, "y")
        assert ours.is_outdated(other)
    assert ours.hash("x") != ours.hash("x")


@pytest.mark.parametrize(
    "stored", ["", "junk", "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHQ", "$argon2id$v=19$m=64,t=2,p=1$!!!!!!!!$AAAA", "$2b$12$abc"]
)
def test_what_is_no_hash_matches_nothing(stored: str) -> None:
    """Whatever stands in the database."""
    assert not Argon2id(memory_kib=64, **COSTS).matches(stored, "x")


def test_memory_is_kept_between_hashes_and_given_back() -> None:
    """As much as hashes used at once; of another size it does not gather."""
    hasher = Argon2id(memory_kib=256, **COSTS)
    made = hasher.hash("x")
    assert hasher.kept == 256 * KIB
    assert hasher.matches(made, "x")
    assert hasher.kept == 256 * KIB
    assert hasher.matches(Argon2id(memory_kib=64, **COSTS).hash("x"), "x")
    assert hasher.kept == 64 * KIB
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(lambda _: hasher.matches(made, "x"), range(64)))
    assert hasher.kept <= 4 * 256 * KIB + 64 * KIB
    hasher.give_back()
    assert hasher.kept == 0
    assert hasher.matches(made, "x")
