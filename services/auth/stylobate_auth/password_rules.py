"""Which passwords are taken (NIST SP 800-63B §3.1.1.2): any of enough characters that nobody would guess first.

No rules of composition and no expiry: both make worse passwords.
"""

import asyncio
import importlib.util
from functools import cache
from itertools import pairwise
from pathlib import Path

from stylobate.errors import Violation

from stylobate_auth.breached_passwords import BreachedPasswords

MIN_PASSWORD, MAX_PASSWORD = 8, 1024
_COMMON = "is one of the most common passwords"
_BREACHED = "is known from a breach"
_OF_ACCOUNT = "must not be the account's address or name"
_RUN = "must not be one character, or a row of them"


class PasswordRules:
    """Looks at passwords that somebody wants to have.

    :param breached: hashes of passwords that are known from breaches; None: none are looked up.
    """

    def __init__(self, breached: BreachedPasswords | None = None) -> None:
        self._breached = breached

    async def findings(self, password: str, *, pointer: str = "/password", email: str = "", name: str = "") -> list[Violation]:
        """Return what is wrong with a password, none of it holding the password.

        :param pointer: the field it came in. :param email: and ``name``: the account's, which strangers try first.
        """
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            return [Violation(pointer, f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")]
        plain = password.strip().casefold()
        if plain in {word.casefold() for word in (email, email.rpartition("@")[0], name) if word}:
            return [Violation(pointer, _OF_ACCOUNT)]
        if _is_run(plain):
            return [Violation(pointer, _RUN)]
        if plain in await asyncio.to_thread(common_passwords):
            return [Violation(pointer, _COMMON)]
        if self._breached is not None and await asyncio.to_thread(self._breached.has, password):
            return [Violation(pointer, _BREACHED)]
        return []


@cache
def common_passwords() -> frozenset[str]:
    """Return the most common passwords that are long enough to be taken, in lower case: some ten thousand.

    They are zxcvbn's. Its file of lists is read by itself: with the package around it come five more dictionaries.
    """
    package = importlib.util.find_spec("zxcvbn")
    folder = Path((package.submodule_search_locations or [""])[0]) if package is not None else Path()
    spec = importlib.util.spec_from_file_location("zxcvbn_frequency_lists", folder / "frequency_lists.py")
    if spec is None or spec.loader is None:
        raise ImportError("zxcvbn has no lists of passwords")
    lists = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lists)
    return frozenset(word for word in lists.FREQUENCY_LISTS["passwords"] if len(word) >= MIN_PASSWORD)


def _is_run(text: str) -> bool:
    """Return whether each character follows the one before by the same step of -1, 0 or 1: ``aaaaaaaa``, ``23456789``."""
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    return steps <= {0} or steps in ({1}, {-1})
