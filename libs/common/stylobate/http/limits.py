"""The fields that tell how a rate limit stands (draft-ietf-httpapi-ratelimit-headers, structured fields of RFC 9651)."""

from collections.abc import Sequence

from stylobate.http.asgi import Headers

LimitText = tuple[str, str]
"""One limit's entry in ``RateLimit-Policy``, and its entry in ``RateLimit``."""


def limit_text(policy: str, quota: int | str, window: int | str, remaining: int | str, reset: int | str) -> LimitText:
    """Return the entries of a limit; ``window`` and ``reset`` (until it is full again) in whole seconds."""
    return f'"{policy}";q={quota};w={window}', f'"{policy}";r={remaining};t={reset}'


def limit_headers(limits: Sequence[LimitText]) -> Headers:
    """Return both fields for these limits, the first one first; none where there are none."""
    if not limits:
        return []
    policies, standings = zip(*limits, strict=True)
    return [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(standings).encode())]
