"""Publications under test: checked as for sockets, and kept."""

from collections.abc import Callable, Mapping
from datetime import datetime

from stylobate.idempotency import Answer, Claim, KeyTakenError

from stylobate_realtime.channels import ChannelRules


class KeptPublications:
    """Stands for the manager of sockets where nobody is connected, and for the broker that keeps the answers to keys."""

    def __init__(self, rules: ChannelRules, max_bytes: int, keep: Callable[[str, bytes], None]) -> None:
        """Take who is told of channel and payload."""
        self._rules = rules
        self._max_bytes = max_bytes
        self._keep = keep
        self._answers: dict[tuple[str, ...], tuple[Answer, datetime]] = {}

    async def publish(self, tenant: str, channel: str, data: bytes, tags: Mapping[str, str], claim: Claim | None = None) -> None:
        """Keep a publication. Raises ChannelInvalidError, ChannelUnknownError, InvalidInputError, KeyTakenError."""
        del tenant, tags
        payload = self._rules.publication(channel, data, self._max_bytes)
        if claim is not None:
            if await self.find(claim) is not None:
                raise KeyTakenError
            self._answers[_key(claim)] = Answer(claim.request, claim.encode(None)), claim.expires_at
        self._keep(channel, payload)

    async def find(self, claim: Claim) -> Answer | None:
        """Return the answer to a key."""
        found = self._answers.get(_key(claim))
        return found[0] if found is not None and found[1] > claim.at else None

    async def prune(self, now: datetime) -> int:
        """Remove nothing: a test is over soon."""
        del now
        return 0


def _key(claim: Claim) -> tuple[str, ...]:
    return claim.tenant, claim.caller, claim.method, claim.key
