"""What an account's data must look like."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from email_validator import EmailNotValidError, validate_email
from stylobate.encryption import is_sealed
from stylobate.errors import Violation

from stylobate_auth.errors import AuthInvalidInputError
from stylobate_auth.model import AccountDraft

MAX_DISPLAY_NAME = 100
MAX_EMAIL = 254
_ASCII_LOWER = {ord(letter): letter.lower() for letter in ascii_uppercase}
_LOOKS_SEALED = "must not begin as what is stored encrypted does: stored in the clear, nobody could read it"
_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})
_DIRECTIONS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u206a\u206b\u206c\u206d\u206e\u206f"
)
"""Bidi_Control (UAX #9) and its deprecated relatives: with them a name shows as another."""


@dataclass(frozen=True, slots=True)
class AccountInput:
    """Checked data of an account to make."""

    email: str
    email_key: str
    display_name: str


def email_key(email: str) -> str | None:
    """Return an address as addresses are compared: without regard to how its domain is written and to the case of ASCII letters.

    No more than that: other letters may tell two mailboxes apart.

    None for what is not an address.
    """
    try:
        return _key(_address(email, allow_test_domains=True))
    except EmailNotValidError:
        return None


def check_account(draft: AccountDraft, of_password: Sequence[Violation], *, allow_test_domains: bool) -> AccountInput:
    """Return the data as it is kept.

    :param of_password: what is wrong with the password.
    :param allow_test_domains: whether addresses under ``.test`` (RFC 2606) count.
    :raises AuthInvalidInputError: with every finding.
    """
    address, key, of_address = check_address(draft.email, allow_test_domains=allow_test_domains)
    name, of_name = check_name(draft.display_name)
    if findings := [*of_address, *of_password, *of_name]:
        raise AuthInvalidInputError(violations=findings)
    return AccountInput(address, key, name)


def check_address(email: str, *, allow_test_domains: bool) -> tuple[str, str, list[Violation]]:
    """Return an address as it is kept and as it is compared, both empty where the findings say what is wrong."""
    try:
        address = _address(email, allow_test_domains=allow_test_domains)
    except EmailNotValidError as error:
        return "", "", [Violation("/email", str(error))]
    if is_sealed(address):
        return "", "", [Violation("/email", _LOOKS_SEALED)]
    return address, _key(address), []


def check_name(display_name: str) -> tuple[str, list[Violation]]:
    """Return a name as it is kept, and what is wrong with it."""
    findings: list[Violation] = []
    name = unicodedata.normalize("NFC", display_name[: 4 * MAX_DISPLAY_NAME].strip())
    if len(name) > MAX_DISPLAY_NAME:
        findings.append(Violation("/display_name", f"must have at most {MAX_DISPLAY_NAME} characters"))
    if fault := name_fault(name):
        findings.append(Violation("/display_name", fault))
    return name, findings


def name_fault(name: str) -> str | None:
    """Return why a name cannot be shown, as a violation's sentence; None: it can."""
    if any(unicodedata.category(character) in _CONTROL or character in _DIRECTIONS for character in name):
        return "must not hold control characters, nor such that turn the direction of writing"
    if is_sealed(name):
        return _LOOKS_SEALED
    return None


def _address(email: str, *, allow_test_domains: bool) -> str:
    if len(email) > MAX_EMAIL:
        raise EmailNotValidError(f"must have at most {MAX_EMAIL} characters")
    address: str = validate_email(email.strip(), check_deliverability=False, test_environment=allow_test_domains).normalized
    return address


def _key(address: str) -> str:
    """Return the key of an address as it is kept: its local part in NFC, its domain as IDNA 2008 has it, in Unicode."""
    local, _, domain = address.rpartition("@")
    return f"{local.translate(_ASCII_LOWER)}@{domain}"
