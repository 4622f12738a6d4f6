"""What can go wrong with an idempotency key."""

import grpc

from stylobate.errors import InvalidInputError, StylobateError


class IdempotencyKeyReusedError(InvalidInputError):
    """The key was sent before, with another request to the same method."""

    reason = "IDEMPOTENCY_KEY_REUSED"
    default_detail = "This idempotency key was sent before with another request."
    cure = "Choose a new key for each change, such as a UUID, and send it again only with exactly the same request."


class IdempotencyInProgressError(StylobateError):
    """Another call with the same key is under way."""

    code = grpc.StatusCode.ABORTED
    reason = "IDEMPOTENCY_IN_PROGRESS"
    default_detail = "Another call with this idempotency key is under way."
    cure = "Wait a moment and send the same request again with the same key."


class KeyTakenError(Exception):
    """A key could not be claimed: another call with it is under way, or has its answer."""
