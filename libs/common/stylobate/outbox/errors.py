"""What can go wrong with events and the log, as a caller sees it."""

import grpc

from stylobate.errors import InvalidInputError, NotFoundError, StylobateError


class EventInvalidError(InvalidInputError):
    """Bytes that are not an event in CloudEvents 1.0 JSON."""

    reason = "EVENT_INVALID"
    default_detail = "This is not an event in CloudEvents 1.0 JSON."
    cure = "Send the attributes `specversion`, `id`, `source`, `type`, `subject`, `time`, `tenant` and `data`."


class EventPatternInvalidError(InvalidInputError):
    """A pattern of event types that cannot match anything."""

    reason = "EVENT_PATTERN_INVALID"
    default_detail = "This is not a pattern of event types."
    cure = "Write segments of letters, digits, `_` and `-` with dots between; `*` stands for one whole segment."


class EventSourceUnknownError(NotFoundError):
    """A log was asked for that is not kept here. ``metadata["source"]`` names it."""

    reason = "EVENT_SOURCE_UNKNOWN"
    default_detail = "No log of that source is kept here."
    cure = "Ask the service that owns the source, such as `state` or `auth`."


class PositionInvalidError(InvalidInputError):
    """A position that no log of ours gave out."""

    reason = "POSITION_INVALID"
    default_detail = "This is not a position of this log."
    cure = "Pass a position on exactly as it was received from the same source."


class PositionExpiredError(StylobateError):
    """Nobody can read on from there. ``metadata["position"]`` says where to go on.

    Events behind the position were pruned; or the log was taken back (a restore, a failover that lost events) and the
    position is of an older epoch, or lies beyond the end.
    """

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "POSITION_EXPIRED"
    default_detail = "Events after this position are no longer kept, or the log was taken back."
    cure = "Start again from the position in the answer; what lies between is lost."


class EventWrittenError(Exception):
    """A version of a subject, or an event, was written to the outbox a second time."""
