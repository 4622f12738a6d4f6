"""A local file of breached passwords, as the downloaders of Pwned Passwords write it: nothing is asked of anybody.

A line for each password, ``<SHA-1 in hex>`` or ``<SHA-1 in hex>:<count>``, sorted by hash. The file may have a thousand million
lines: it is searched where it lies, in some thirty reads.
"""

import hashlib
import re
from pathlib import Path

_LINE = re.compile(rb"[0-9A-Fa-f]{40}(:\d+)?")
_LONGEST_LINE = 64
_HEX = 40


class BreachedPasswords:
    """Looks passwords up in the file. Each look opens it: one that is exchanged is seen at once.

    :raises ValueError: the file cannot be read, or does not begin with such a line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                first = file.readline(_LONGEST_LINE).strip()
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None
        if not _LINE.fullmatch(first):
            raise ValueError(f"{path}:1: must be the SHA-1 of a password in 40 hexadecimal digits, with or without `:count`")

    def has(self, password: str) -> bool:
        """Return whether the file has the password. Raises OSError when it cannot be read any more."""
        wanted = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper().encode()
        with self._path.open("rb") as file:
            low, high = 0, file.seek(0, 2)  # the line that is sought begins in [low, high)
            while low < high:
                middle = (low + high) // 2
                file.seek(max(0, middle - 1))
                if middle:
                    file.readline(_LONGEST_LINE)  # to the beginning of the first line at or behind the middle
                begin = file.tell()
                line = file.readline(_LONGEST_LINE)
                found = line[:_HEX].upper()
                if found == wanted:
                    return True
                if begin >= high or not line or found > wanted:
                    high = middle
                else:
                    low = begin + len(line)
            return False
