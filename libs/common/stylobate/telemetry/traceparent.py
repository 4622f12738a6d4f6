"""The header ``traceparent`` (W3C Trace Context §3.2): ``00-<trace id>-<span id>-<flags>``, read without objects."""

import random
import re
from collections.abc import Iterable

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_ODD = frozenset("13579bdf")


def is_traceparent(text: str) -> bool:
    """Return whether the text is a traceparent that may be handed on."""
    return _FORM.fullmatch(text) is not None


def is_sampled(traceparent: str) -> bool:
    """Return whether spans are to be made for it; False for an empty or malformed one."""
    return traceparent[54:] in _ODD  # one character, or it is none of them


def new_traceparent(sample_ratio: float) -> str:
    """Return a new trace, sampled with the probability ``sample_ratio`` (0 to 1)."""
    made = f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-00"
    return made if sample_ratio <= 0 else decided(made, sample_ratio)


def decided(traceparent: str, sample_ratio: float) -> str:
    """Return the same trace, sampled with the probability ``sample_ratio``, whatever it says itself."""
    is_chosen = sample_ratio > 0 and random.random() < sample_ratio  # noqa: S311  an id for correlation, no secret
    return f"{traceparent[:53]}{'01' if is_chosen else '00'}"


def trace_of(traceparents: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call that serves several others: it belongs to the first of their sampled traces, if any."""
    first = next(filter(None, traceparents), "")
    return (("traceparent", first),) if first else ()


def child_of(traceparent: str) -> str:
    """Return the same trace with a new span id."""
    return f"{traceparent[:36]}{random.getrandbits(64) or 1:016x}{traceparent[52:]}"
