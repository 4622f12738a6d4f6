"""Messages of the bidirectional client protocol, version 2, as data.

Names are those of the JSON encoding. Fields that this server neither reads nor sends are left out: unknown fields are
ignored in both directions. ``Raw`` is application payload: raw JSON in one encoding, raw bytes in the other.
"""

from typing import Annotated

from msgspec import Meta, Raw, Struct, field

NO_DATA = Raw(b"")
"""The default of every payload field; a payload that was given is never empty JSON."""

CommandId = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Text = str | None
"""Some clients send null for a text they do not have."""
Flag = bool | None
Number = int | None


class ConnectRequest(Struct, gc=False):
    """Opens the session."""

    token: Text = None
    data: Raw = NO_DATA
    name: Text = None
    version: Text = None


class SubscribeRequest(Struct, gc=False):
    """Asks for the publications of a channel."""

    channel: Text = None
    token: Text = None
    recover: Flag = None
    data: Raw = NO_DATA
    join_leave: Flag = None
    delta: Text = None
    tf: Raw = NO_DATA
    """A filter by tags; only its presence matters, since no namespace allows one."""
    type: Number = None


class ChannelRequest(Struct, gc=False):
    """Names a channel: unsubscribe, presence, presence_stats, history."""

    channel: Text = None


class PublishRequest(Struct, gc=False):
    """Publishes to a channel."""

    channel: Text = None
    data: Raw = NO_DATA
    type: Number = None


class RpcRequest(Struct, gc=False):
    """Calls a method of the application."""

    data: Raw = NO_DATA
    method: Text = None


class RefreshRequest(Struct, gc=False):
    """Brings a new connection token."""

    token: Text = None


class SubRefreshRequest(Struct, gc=False):
    """Brings a new subscription token."""

    channel: Text = None
    token: Text = None
    type: Number = None


class SendRequest(Struct, gc=False):
    """Something for the application that wants no answer."""

    data: Raw = NO_DATA


class Empty(Struct, gc=False):
    """A request or result without fields."""


class Command(Struct, gc=False):
    """What a client sends: an id and one request; neither, for a pong."""

    id: CommandId = 0
    connect: ConnectRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: ChannelRequest | None = None
    publish: PublishRequest | None = None
    presence: ChannelRequest | None = None
    presence_stats: ChannelRequest | None = None
    history: ChannelRequest | None = None
    rpc: RpcRequest | None = None
    send: SendRequest | None = None
    refresh: RefreshRequest | None = None
    sub_refresh: SubRefreshRequest | None = None
    ping: Empty | None = None


class Error(Struct, frozen=True, gc=False, omit_defaults=True):
    """A refusal. The message is never empty: some clients read it unasked."""

    code: int
    message: str
    temporary: bool = False


class ClientInfo(Struct, frozen=True, gc=False):
    """Who published, joined or is present. ``user`` and ``client`` are always sent."""

    user: str = ""
    client: str = ""


class Publication(Struct, gc=False, omit_defaults=True):
    """One message of a channel; ``info`` only when a client published it."""

    data: Raw = NO_DATA
    info: ClientInfo | None = None
    offset: int = 0
    tags: dict[str, str] = field(default_factory=dict)


class Membership(Struct, gc=False, omit_defaults=True):
    """A join or a leave."""

    info: ClientInfo | None = None


class Unsubscribe(Struct, gc=False, omit_defaults=True):
    """The server ended a subscription; a code from 2500 makes the client subscribe again."""

    code: int = 0
    reason: str = ""


class Push(Struct, gc=False, omit_defaults=True):
    """What the server sends unasked."""

    channel: str = ""
    pub: Publication | None = None
    join: Membership | None = None
    leave: Membership | None = None
    unsubscribe: Unsubscribe | None = None


class RefreshResult(Struct, gc=False, omit_defaults=True):
    """The new token holds."""

    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0
    """Seconds."""


class ConnectResult(RefreshResult, gc=False, omit_defaults=True):
    """The session is open."""

    ping: int = 0
    """Seconds between pings; absent: none."""
    pong: bool = False


class SubscribeResult(Struct, gc=False, omit_defaults=True):
    """The subscription stands."""

    recoverable: bool = False
    epoch: str = ""
    was_recovering: bool = False
    recovered: bool = False
    offset: int = 0
    positioned: bool = False


class PresenceResult(Struct, gc=False):
    """Who is subscribed, by client id; sent also when nobody is."""

    presence: dict[str, ClientInfo]


class PresenceStatsResult(Struct, gc=False):
    """How many are subscribed; both always sent."""

    num_clients: int
    num_users: int


class Reply(Struct, gc=False, omit_defaults=True):
    """What the server sends: the answer to a command by its id, or a push without id; neither, for a ping."""

    id: int = 0
    error: Error | None = None
    push: Push | None = None
    connect: ConnectResult | None = None
    subscribe: SubscribeResult | None = None
    unsubscribe: Empty | None = None
    publish: Empty | None = None
    presence: PresenceResult | None = None
    presence_stats: PresenceStatsResult | None = None
    refresh: RefreshResult | None = None
