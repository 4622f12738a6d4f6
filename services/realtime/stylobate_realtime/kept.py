"""Publications under test: checked as for sockets, and kept."""

from collections.abc import Callable, Mapping

from stylobate_realtime.channels import ChannelRules


class KeptPublications:
    """Stands for the manager of sockets where nobody is connected."""

    def __init__(self, rules: ChannelRules, max_bytes: int, keep: Callable[[str, bytes], None]) -> None:
        """Take who is told of channel and payload."""
        self._rules = rules
        self._max_bytes = max_bytes
        self._keep = keep

    async def publish(self, tenant: str, channel: str, data: bytes, tags: Mapping[str, str]) -> None:
        """Keep a publication. Raises ChannelInvalidError, ChannelUnknownError, InvalidInputError."""
        del tenant, tags
        self._keep(channel, self._rules.publication(channel, data, self._max_bytes))
