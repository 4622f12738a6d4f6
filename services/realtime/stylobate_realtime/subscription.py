"""One connection's place in one channel."""

from dataclasses import dataclass

from stylobate.declarations.model import ChannelDeclaration


@dataclass(slots=True, eq=False)
class Subscription:
    """Made when a subscribe begins, so that a second one of the same channel finds it, and so does what casts doubt on it."""

    channel: str
    topic: str
    """Tenant and channel: what it is called between nodes."""
    declaration: ChannelDeclaration
    wants_membership: bool = False
    """Whether joins and leaves are pushed to it."""
    is_held: bool = False
    """Whether the node hears the topic on its behalf."""
    is_present: bool = False
    """Whether it may have an entry in the channel's presence."""
    is_ready: bool = False
    """Whether the subscribe was answered: publications flow."""
    waiting: list[bytes] | None = None
    """Frames that came in before the answer to the subscribe, which they follow; None: not held, or they were too many."""
    waiting_bytes: int = 0
    doubts: int = 1
    """How often something happened after which the right to it may be gone; the first time is the subscribe itself."""
    settled: int = 0
    """The number of doubts that the last answer "may subscribe" was asked after."""
    is_queued: bool = False
    """Whether it waits to be asked for again."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether it must be asked for (again) before it may be relied on."""
        return self.settled != self.doubts


def topic_of(tenant: str, channel: str) -> str:
    """Return the name of a tenant's channel between nodes."""
    return f"{tenant}:{channel}"
