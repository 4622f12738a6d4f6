"""What the realtime service refuses with."""

import grpc
from stylobate.errors import NotFoundError, UnavailableError


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
