"""What an API key's data must look like."""

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime, timedelta
from ipaddress import ip_network

from stylobate.declarations.rules import AUTHENTICATED, OWNER, is_permission, parse_rate_limit
from stylobate.errors import InvalidInputError, Violation
from stylobate.identity.client_address import unmapped
from stylobate.identity.public_key import PublicKey, read_public_key

from stylobate_auth.account_input import name_fault
from stylobate_auth.api_key import BELIEVED_FOR, ApiKey, ApiKeyDraft
from stylobate_auth.errors import AuthInvalidInputError

MAX_NAME = 100
MAX_ENTRIES = 64
_MAX_TEXT = 256
LONGEST_OVERLAP = timedelta(days=30)
_WORDS = frozenset({"*", AUTHENTICATED, OWNER})
_AREA = re.compile(r"([a-z][a-z0-9_-]*(?::[a-z0-9][a-z0-9_-]*)*):\*")


def check_api_key(draft: ApiKeyDraft, now: datetime) -> tuple[ApiKeyDraft, PublicKey | None]:
    """Return what is asked for as it is kept, and its public key. Raises AuthInvalidInputError with every finding."""
    name = unicodedata.normalize("NFC", draft.name[: 4 * MAX_NAME].strip())
    findings: list[Violation] = []
    if not 1 <= len(name) <= MAX_NAME:
        findings.append(Violation("/name", f"must have 1 to {MAX_NAME} characters"))
    elif fault := name_fault(name):
        findings.append(Violation("/name", fault))
    for place, entries in (("scopes", draft.scopes), ("allowed_cidrs", draft.allowed_cidrs)):
        if len(entries) > MAX_ENTRIES:
            findings.append(Violation(f"/{place}", f"at most {MAX_ENTRIES}"))
    findings += _scope_findings(draft.scopes[:MAX_ENTRIES])
    cidrs = _networks(draft.allowed_cidrs[:MAX_ENTRIES], findings)
    if draft.expires_at is not None and draft.expires_at <= now:
        findings.append(Violation("/expires_at", "must be in the future"))
    rate_limit = _rate_limit(draft.rate_limit, findings)
    public_key = _public_key(draft.public_key, findings) if draft.public_key else None
    if findings:
        raise AuthInvalidInputError("The key's data is not valid.", violations=findings)
    scopes, cidrs = sorted(set(draft.scopes)), [*dict.fromkeys(cidrs)]
    checked = ApiKeyDraft(name, tuple(scopes), tuple(cidrs), draft.expires_at, draft.owner, rate_limit)
    return checked, public_key


def check_rate_limit(text: str) -> str:
    """Return a limit as it is kept; empty: none. Raises AuthInvalidInputError."""
    findings: list[Violation] = []
    rate_limit = _rate_limit(text, findings)
    if findings:
        raise AuthInvalidInputError("The key's data is not valid.", violations=findings)
    return rate_limit


def check_successor(key: ApiKey, public_key: str) -> PublicKey | None:
    """Return the public key of a key's successor; None: it gets a secret, as the key has. Raises AuthInvalidInputError."""
    findings: list[Violation] = []
    found = _public_key(public_key, findings) if public_key else None
    if bool(key.public_key) is not bool(public_key):
        detail = "is missing: the key has one" if key.public_key else "cannot be: the key has a secret"
        findings.append(Violation("/public_key", detail))
    if findings:
        raise AuthInvalidInputError("The key's data is not valid.", violations=findings)
    return found


def check_overlap(overlap: timedelta) -> None:
    """Return when a key may hold for so long after it was exchanged.

    Not for less than verifiers remember it: some would take it for longer.

    :raises InvalidInputError: it may not.
    """
    if overlap and not BELIEVED_FOR <= overlap <= LONGEST_OVERLAP:
        detail = f"must be 0 or {BELIEVED_FOR // timedelta(seconds=1)} to {LONGEST_OVERLAP // timedelta(seconds=1)} seconds"
        raise InvalidInputError(violations=[Violation("/overlap", detail)])


def _rate_limit(text: str, findings: list[Violation]) -> str:
    rate_limit = text[:_MAX_TEXT].strip()
    if rate_limit:
        try:
            parse_rate_limit(rate_limit, plain="gcra")
        except ValueError as error:
            findings.append(Violation("/rate_limit", str(error)[:_MAX_TEXT]))
    return rate_limit


def _public_key(text: str, findings: list[Violation]) -> PublicKey | None:
    try:
        return read_public_key(text)
    except ValueError as error:
        findings.append(Violation("/public_key", str(error)))
        return None


def _scope_findings(scopes: Iterable[str]) -> list[Violation]:
    return [
        Violation(f"/scopes/{index}", f"is neither a permission such as `orders:read` or `orders:*` nor one of: {_known()}")
        for index, scope in enumerate(scopes)
        if len(scope) > _MAX_TEXT or not (scope in _WORDS or is_permission(scope) or _AREA.fullmatch(scope))
    ]


def _known() -> str:
    return ", ".join(sorted(_WORDS))


def _networks(texts: Iterable[str], findings: list[Violation]) -> list[str]:
    found = []
    for index, text in enumerate(texts):
        try:
            if len(text) > _MAX_TEXT or "%" in text:
                raise ValueError("is not an address or a network such as `192.0.2.0/24`")
            found.append(str(unmapped(ip_network(text))))
        except ValueError as error:
            findings.append(Violation(f"/allowed_cidrs/{index}", str(error)[:_MAX_TEXT]))
    return found
