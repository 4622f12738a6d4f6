"""What can go wrong with an idempotency key."""

from stylobate.errors import InvalidInputError


class IdempotencyKeyReusedError(InvalidInputError):
    """The key was sent before, with another request to the same method."""

    reason = "IDEMPOTENCY_KEY_REUSED"
    default_detail = "This idempotency key was sent before with another request."
    cure = "Choose a new key for each change, such as a UUID, and send it again only with exactly the same request."


class IdempotencyKeyRefusedError(InvalidInputError):
    """What is called keeps no answers: its declaration says `idempotent: false`."""

    reason = "IDEMPOTENCY_KEY_REFUSED"
    default_detail = "Calls of this action take no idempotency key: its answers are kept nowhere."
    cure = "Send the request without the key. If no answer comes, find out whether it happened before you send it again."


class KeyTakenError(Exception):
    """A key could not be claimed: another call with it is under way, or has its answer."""
