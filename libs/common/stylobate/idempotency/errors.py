"""What can go wrong with an idempotency key."""

from stylobate.errors import InvalidInputError


class IdempotencyKeyReusedError(InvalidInputError):
    """The key was sent before, with another request to the same method."""

    reason = "IDEMPOTENCY_KEY_REUSED"
    default_detail = "This idempotency key was sent before with another request."
    cure = "Choose a new key for each change, such as a UUID, and send it again only with exactly the same request."


class KeyTakenError(Exception):
    """A key could not be claimed: another call with it is under way, or has its answer."""
