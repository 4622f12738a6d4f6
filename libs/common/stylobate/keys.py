"""Keys of state objects, and their form in the names of realtime channels.

A key is 1 to MAX_LENGTH printable characters in Unicode normalization form C. It stands in URL paths, in log lines and, behind a
namespace, in the name of a channel, which is printable ASCII: what a key has beside that is percent-encoded there (RFC 3986
section 2.1). A key of printable ASCII without spaces is its own form in a channel.
"""

import re
import unicodedata
from urllib.parse import quote, unquote

MAX_LENGTH = 255
"""Characters of a key, and of the name of a channel."""
PATTERN = r"^[^\u0000-\u001f/\u007f-\u00a0\u2028\u2029]+$"
"""What a regular expression that everyone can read says of a key: every key has this form, not all of this form is a key."""

_PLAIN = re.compile(r"[\x21-\x7e]+")
_OTHER = re.compile(r"[^\x21-\x7e]+")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_LOST = "\ufffd"


def key_fault(key: str) -> str | None:
    """Return what stands against the key of a new object, as a sentence; None: nothing."""
    if (fault := unreadable(key)) is not None:
        return fault
    if not key.isascii():
        if _LOST in key:
            return "A key has no U+FFFD: it stands for text that was lost."
        if (normal := unicodedata.normalize("NFC", key)) != key:
            return f"A key is in Unicode normalization form C (NFC), which of this one is {normal!r}; it was sent in another."
    if key[0] == " " or key[-1] == " ":
        return "A key does not begin or end with a space."
    if "%" in key and _ENCODED.search(key):
        return "A key does not look percent-encoded: `%` and two hexadecimal digits is how other characters stand in a channel."
    return None


def unreadable(key: str) -> str | None:
    """Return why there can be no object of that key, not even an old one; None: there can."""
    if not 1 <= len(key) <= MAX_LENGTH:
        return f"A key has 1 to {MAX_LENGTH} characters."
    if not key.isprintable():
        return "A key has printable characters only: no control characters, none that turn the direction of writing."
    if "/" in key or key in {".", ".."}:
        return "A key has no `/`, and is not `.` or `..`."
    return None


def in_channel(name: str) -> str:
    """Return the key, or a channel's name that holds one, as it stands in the name of a channel."""
    if _PLAIN.fullmatch(name):
        return name
    return _OTHER.sub(lambda found: quote(found[0], safe=""), name)


def from_channel(name: str) -> str:
    """Return the key that stands in the name of a channel. What :func:`in_channel` did not make is the key itself."""
    if "%" not in name:
        return name
    try:
        key = unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name
    return key if in_channel(key) == name else name
