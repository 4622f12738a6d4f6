"""One connection's place in one channel."""

from dataclasses import dataclass

from stylobate.declarations.model import ChannelDeclaration


@dataclass(slots=True)
class Subscription:
    """Made when a subscribe begins, so that a second one of the same channel finds it."""

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


def topic_of(tenant: str, channel: str) -> str:
    """Return the name of a tenant's channel between nodes."""
    return f"{tenant}:{channel}"
