"""What the realtime service refuses with."""

import grpc
from stylobate.errors import NotFoundError, PermissionDeniedError, UnavailableError


class ChannelUnknownError(NotFoundError):
    """No module declares the channel's namespace."""

    reason = "REALTIME_CHANNEL_UNKNOWN"
    default_detail = "No module declares a namespace for this channel."
    cure = "Declare the namespace in the module's realtime.yaml, or correct the channel's name."


class ChannelInvalidError(NotFoundError):
    """The channel's name cannot be one."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "REALTIME_CHANNEL_INVALID"
    default_detail = "A channel's name is 1 to 255 printable ASCII characters."


class RealtimeUnavailableError(UnavailableError):
    """The broker does not take or carry publications at the moment."""

    reason = "REALTIME_UNAVAILABLE"
    default_detail = "Live messages cannot be carried at the moment."


class OriginRefusedError(PermissionDeniedError):
    """A browser's page asked for a WebSocket from an origin that is not let in."""

    reason = "REALTIME_ORIGIN_REFUSED"
    default_detail = "Pages of this origin may not connect; see the setting allowed_origins."
    cure = "An operator lists the page's origin in STYLOBATE_REALTIME_ALLOWED_ORIGINS."
