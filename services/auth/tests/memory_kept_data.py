"""What is kept of a person, as it is given out to them: the part of the memory store."""

from collections.abc import Iterator, Mapping
from typing import Any


class MemoryKeptData:
    """The part of the store."""

    _tables: Any

    async def kept(self, tenant: str, account_id: str, part: str, after: str, limit: int) -> list[Mapping[str, Any]]:
        """See the port."""
        rows = sorted(getattr(self, f"_{part}_of")((tenant, account_id)), key=_name)
        return [row for row in rows if _name(row) > after][:limit]

    def _account_of(self, place: tuple[str, str]) -> Iterator[dict[str, Any]]:
        if place in self._tables.accounts and place not in self._tables.service_accounts:
            row = _members(self._tables.accounts[place].account, "id email display_name email_verified created_at disabled_at")
            new, old = self._tables.new_emails.get(place, (None, ""))[0], self._tables.old_emails.get(place)
            yield row | {"new_email": new, "old_email": old}

    def _roles_of(self, place: tuple[str, str]) -> Iterator[dict[str, Any]]:
        row = self._tables.accounts.get(place)
        for role in row.account.roles if row else ():
            held = self._tables.held.get((*place, role))
            yield {"role": role, "assigned_at": held and held.assigned_at, "expires_at": held and held.expires_at}

    def _grants_of(self, place: tuple[str, str]) -> Iterator[dict[str, Any]]:
        for one in self._tables.grants.values():
            if (one.tenant, one.subject) == place:
                yield {"grant": f"{one.permission} {one.resource}"} | _members(one, "granted_at expires_at")

    def _sessions_of(self, place: tuple[str, str]) -> Iterator[dict[str, Any]]:
        for session in self._tables.sessions.values():
            if (session.tenant, session.account_id) == place:
                row = _members(session, "id opened_at seen_at expires_at ended_at")
                yield row | {"end_reason": session.end} | _members(session, "address agent")

    def _api_keys_of(self, place: tuple[str, str]) -> Iterator[dict[str, Any]]:
        for new in self._tables.api_keys.values():
            if (new.key.tenant, new.key.owner) == place:
                row = _members(new.key, "id name scopes allowed_cidrs rate_limit created_at expires_at revoked_at last_used_at")
                lists = {name: list(row[name]) for name in ("scopes", "allowed_cidrs")}
                yield row | lists | {"replaced_by": new.key.replaced_by or None}

    def _mails_of(self, place: tuple[str, str]) -> Iterator[dict[str, Any]]:
        for row in self._tables.mails.values():
            if (row.mail.tenant, row.mail.account_id) == place:
                found = _members(row.mail, "id kind asked_at expires_at")
                yield found | {"handed_over": row.due_at is None, "used_at": row.used_at}

    def _login_places_of(self, place: tuple[str, str]) -> Iterator[dict[str, Any]]:
        for key, until in self._tables.places.items():
            if key[:2] == place:
                yield {"place": key[2], "expires_at": until}


def _members(value: Any, names: str) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names.split()}


def _name(row: Mapping[str, Any]) -> str:
    return str(next(iter(row.values())))
