"""What never stands in a log: secrets, tokens, and characters that forge lines."""

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any

_SECRET_KEY = re.compile(r"pass(word|wd)|secret|token|authorization|api[_-]?key|cookie|private", re.IGNORECASE)
_BEARER = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]+")
_API_KEY = re.compile(r"\b(stylo_[a-z]+_[0-9a-f]{4,32})\w*")
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+")
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]|\n"
)
"""Control characters, and those that turn the direction of writing or cannot be seen (Bidi_Control of UAX #9)."""
_URL_PASSWORD = re.compile(r"(\w+://[^:/@\s]+:)[^@\s]+@")
_REDACTED = "[redacted]"
_MULTILINE = ("exception", "stack")


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace values of secret-looking keys and tokens inside texts; make control characters visible."""
    for key, value in event.items():
        if _is_secret(key) and value not in (None, ""):
            event[key] = _REDACTED
        elif isinstance(value, str):
            if not is_harmless(value):
                event[key] = _clean(value, keep_lines=key in _MULTILINE)
        elif isinstance(value, (dict, list, tuple)):
            event[key] = _deep(value)
    return event


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def is_harmless(text: str, *, quotes: bool = False) -> bool:
    """Return whether no pattern can match: nearly every text, told at a fraction of the patterns' cost.

    :param quotes: whether the text must also stand between quotes in JSON as it is.
    """
    if quotes and ('"' in text or "\\" in text):
        return False
    return (
        text.isprintable() and "eyJ" not in text and "stylo_" not in text and "://" not in text and "bearer" not in text.lower()
    )


def _deep(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_clean(str(k)): _REDACTED if _is_secret(str(k)) and v else _deep(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_deep(item) for item in value]
    return _clean(value) if isinstance(value, str) else value


def _clean(text: str, *, keep_lines: bool = False) -> str:
    text = _JWT.sub(_REDACTED, _BEARER.sub(r"\1" + _REDACTED, text))
    text = _API_KEY.sub(r"\1" + _REDACTED, text)
    text = _URL_PASSWORD.sub(r"\1" + _REDACTED + "@", text)
    return _CONTROL.sub(lambda found: "\n" if keep_lines and found[0] == "\n" else f"\\x{ord(found[0]):02x}", text)
