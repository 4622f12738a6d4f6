"""Which passwords are taken."""

import hashlib
from pathlib import Path

import pytest
from stylobate_auth.breached_passwords import BreachedPasswords
from stylobate_auth.password_rules import PasswordRules, common_passwords


@pytest.mark.parametrize(
    ("password", "word"),
    [
        ("x" * 7, "8 to 1024"),
        ("x" * 1025, "8 to 1024"),
        ("password", "common"),
        ("PassWord", "common"),
        ("iloveyou ", "common"),
        ("qwertyuiop", "common"),
        ("ZZZZZZZZZZZZ", "row"),
        ("23456789", "row"),
        ("hgfedcba", "row"),
        ("Ada.Lovelace@example.com", "address or name"),
        ("ada.lovelace", "address or name"),
        ("Countess Lovelace", "address or name"),
    ],
)
async def test_what_strangers_try_first_is_refused(password: str, word: str) -> None:
    """Common ones however they are written, rows, the account's own words."""
    rules = PasswordRules()
    (finding,) = await rules.findings(
        password, pointer="/new_password", email="ada.lovelace@example.com", name="countess lovelace"
    )
    assert finding.pointer == "/new_password"
    assert word in finding.detail


@pytest.mark.parametrize(
    "password", ["correct horse battery staple", "tr0ub4dor&3x", "пароль от сейфа", "a b c d e f g h", "x1x1x1x1x1"]
)
async def test_any_other_is_taken(password: str) -> None:
    """No digit, sign or capital is asked for."""
    assert await PasswordRules().findings(password, email="ada@example.com") == []


def test_the_list_is_of_passwords_that_could_be_taken() -> None:
    """Some thousands, none too short, all in lower case."""
    words = common_passwords()
    assert len(words) > 10_000
    assert all(len(word) >= 8 and word == word.casefold() for word in words)


def _hash(password: str) -> str:
    return hashlib.sha1(password.encode()).hexdigest().upper()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_each_line_of_the_file_is_found_and_nothing_else(tmp_path: Path, count: int, ending: str) -> None:
    """First, last and all between, with and without counts, also where the last line has no end."""
    hashes = sorted(_hash(f"password {number}") for number in range(count))
    lines = [f"{line}:{number}" if number % 2 else line for number, line in enumerate(hashes)]
    path = tmp_path / "breached.txt"
    path.write_bytes(ending.join(lines).encode())
    file = BreachedPasswords(path)
    assert all(file.has(f"password {number}") for number in range(count))
    assert not any(file.has(f"another {number}") for number in range(count))


async def test_a_breached_password_is_refused(tmp_path: Path) -> None:
    """Where the operator has such a file."""
    path = tmp_path / "breached.txt"
    path.write_text(_hash("correct horse battery staple").lower() + ":3\n")
    (finding,) = await PasswordRules(BreachedPasswords(path)).findings("correct horse battery staple")
    assert (finding.pointer, finding.detail) == ("/password", "is known from a breach")


@pytest.mark.parametrize("content", ["", "correct horse\n", "A" * 39 + "\n", "A" * 41 + "\n"])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    """With the name of the file, as one that is not there."""
    path = tmp_path / "breached.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"breached.txt:1: must be the SHA-1"):
        BreachedPasswords(path)
    with pytest.raises(ValueError, match="No such file"):
        BreachedPasswords(tmp_path / "another.txt")
