"""The deny-list: what was revoked, until the last token it could concern has expired.

A kind of revocation that this release does not know, a newer auth's, is not passed over: it refuses whatever session, token or
subject bears its id, and :attr:`DenyList.unknown` says that there are such.

A revocation is never taken back, so lists are merged, never replaced: an addition heard on the stream survives an older
list that arrives after it, whichever auth process answered.
"""

from collections.abc import Callable, Iterable

from stylobate.api.auth.v1.token_service_pb2 import Revocation, RevocationKind
from stylobate.identity.principal import Principal
from stylobate.telemetry import counter

_SKEW_S = 60.0
_TOKEN_IDS = frozenset({RevocationKind.REVOCATION_KIND_TOKEN, RevocationKind.REVOCATION_KIND_KEY})
"""What is known by the token id of a principal."""

_Key = tuple[str, str]
"""Tenant and id."""


class DenyList:
    """Revoked sessions, tokens, subjects and keys, held in memory by every verifier."""

    def __init__(self) -> None:
        self._sessions: dict[_Key, float] = {}
        self._tokens: dict[_Key, float] = {}
        self._subjects: dict[_Key, tuple[float, float]] = {}
        self._changed: dict[_Key, tuple[float, float]] = {}
        """Keys that are something else than before: when they changed, and until when somebody may not know it."""
        self._unknown: dict[_Key, float] = {}
        """By id, of kinds that are not known here."""
        self._unknown_seen = counter("revocations_unknown", "Revocations of a kind that this release does not know.")
        self._is_empty = True
        self.on_key_changed: list[Callable[[str, str], None]] = []
        """Called, synchronously, with tenant and id of an API key that changed."""
        self.on_added: list[Callable[[], None]] = []
        """Called, synchronously, after entries came in that were not known before."""

    def __len__(self) -> int:
        """Return how many entries are held."""
        return len(self._sessions) + len(self._tokens) + len(self._subjects) + len(self._unknown)

    @property
    def unknown(self) -> int:
        """How many entries are of a kind that is not known here."""
        return len(self._unknown)

    def merge(self, revocations: Iterable[Revocation]) -> None:
        """Add entries; those known already stay."""
        known = len(self)
        is_moved = False
        for entry in revocations:
            key = (entry.tenant, entry.id)
            expires_at = entry.expires_at.ToNanoseconds() / 1e9 + _SKEW_S
            if entry.kind == RevocationKind.REVOCATION_KIND_SESSION:
                self._sessions[key] = max(expires_at, self._sessions.get(key, 0.0))
            elif entry.kind in _TOKEN_IDS:
                self._tokens[key] = max(expires_at, self._tokens.get(key, 0.0))
            elif entry.kind == RevocationKind.REVOCATION_KIND_SUBJECT:
                not_before, until = self._subjects.get(key, (0.0, 0.0))
                is_moved = is_moved or entry.not_before.ToNanoseconds() / 1e9 > not_before
                self._subjects[key] = (max(entry.not_before.ToNanoseconds() / 1e9, not_before), max(expires_at, until))
            elif entry.kind == RevocationKind.REVOCATION_KIND_KEY_CHANGED:
                self._change(key, entry.not_before.ToNanoseconds() / 1e9, expires_at)
            else:
                if key not in self._unknown:
                    self._unknown_seen.inc()
                self._unknown[key] = max(expires_at, self._unknown.get(key, 0.0))
        self._is_empty = len(self) == 0
        if is_moved or len(self) > known:
            for callback in self.on_added:
                callback()

    def _change(self, key: _Key, at: float, until: float) -> None:
        if at > self._changed.get(key, (0.0, 0.0))[0]:
            self._changed[key] = at, until
            for callback in self.on_key_changed:
                callback(*key)

    def prune(self, now: float) -> None:
        """Forget what no living token can match any more (Unix seconds), with a minute for clocks that differ."""
        self._sessions = {key: until for key, until in self._sessions.items() if until > now}
        self._tokens = {key: until for key, until in self._tokens.items() if until > now}
        self._unknown = {key: until for key, until in self._unknown.items() if until > now}
        self._subjects = {key: entry for key, entry in self._subjects.items() if entry[1] > now}
        self._changed = {key: entry for key, entry in self._changed.items() if entry[1] > now}
        self._is_empty = len(self) == 0

    def refuses(self, principal: Principal) -> bool:
        """Return whether the principal's session, token, key or subject was revoked."""
        if self._is_empty:
            return False
        tenant = principal.tenant
        if (tenant, principal.session) in self._sessions or (tenant, principal.token_id) in self._tokens:
            return True
        if self._unknown and any(
            (tenant, name) in self._unknown for name in (principal.session, principal.token_id, principal.id, principal.key_id)
        ):
            return True
        if principal.key_id and (tenant, principal.key_id) in self._tokens:
            return True
        subject = self._subjects.get((tenant, principal.id))
        return subject is not None and principal.issued_at < subject[0]

    def names(self, principal: Principal) -> bool:
        """Return whether the principal's token or key itself was revoked."""
        return not self._is_empty and (principal.tenant, principal.token_id) in self._tokens
