"""The small languages inside declarations: access rules, rate limits, durations.

Every parser raises ValueError with a sentence for the author of the declaration.
"""

import re
from collections.abc import Collection
from datetime import timedelta

from stylobate.declarations.model import AccessRule, RateLimit

PUBLIC = "public"
AUTHENTICATED = "authenticated"
OWNER = "owner"
ACTIONS = "actions"
TERMS = (PUBLIC, AUTHENTICATED, OWNER, ACTIONS)
_HANDLERS = re.compile(r"actions\s+of\s+(?P<module>[a-z][a-z0-9_]*)")

WINDOW_MAXIMUM = 1000
"""A window remembers each charge; this bounds what one subject costs."""
_LIMIT_MAXIMUM = 2**31 - 1
LONGEST_BURST = timedelta(days=36_525)
"""In which a whole burst comes back, at most: what is counted in microseconds stays exact in a double, as Redis has it."""
_US = timedelta(microseconds=1)

_PERMISSION = re.compile(r"[a-z][a-z0-9_-]*(?::[a-z0-9][a-z0-9_-]*)+")
_RATE = re.compile(r"(?P<limit>[0-9]+)/(?P<unit>\w+)(?:\s+(?P<gcra>gcra)|\s+burst\s+(?P<burst>[0-9]+))?")
_DURATION = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>ms|s|m|h|d)")
_LONGEST = timedelta(days=1)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")

_PERIODS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def is_permission(text: str) -> bool:
    """Whether the text has the form of a permission: ``orders:create``."""
    return _PERMISSION.fullmatch(text) is not None


def handlers_of(module: str) -> str:
    """Return the term that lets the handlers and hooks of a module in: ``actions of shop``."""
    return f"{ACTIONS} of {module}"


def module_of(term: str) -> str:
    """Return whose handlers a term lets in; empty for any other term."""
    match = _HANDLERS.fullmatch(term)
    return match["module"] if match is not None else ""


def parse_access_rule(text: str, *, words: Collection[str] = TERMS, module: str = "") -> AccessRule:
    """Return the rule of ``orders:read or owner``: any one term is enough.

    :param words: which of :data:`TERMS` make sense where the rule stands.
    :param module: where it stands: its handlers are meant by a plain ``actions``, which becomes ``actions of <module>``.
    :raises ValueError: for a term that is neither one of these words nor a permission.
    """
    terms = tuple(_term(term.strip(), module) for term in re.split(r"\s+or\s+", text.strip()))
    for term in terms:
        handlers = module_of(term)
        if (ACTIONS if handlers else term) in words or is_permission(term):
            continue
        if term in TERMS or handlers:
            raise ValueError(f"`{ACTIONS if handlers == module else term}` has no meaning here")
        if re.match(rf"{ACTIONS}\s+of\b", term):
            raise ValueError(f"{term!r} names no module; write `{handlers_of('shop')} or {handlers_of('billing')}`")
        if " and " in term:
            raise ValueError(f"{term!r}: terms are joined by `or` only")
        raise ValueError(f"{term!r} is neither a permission such as `orders:read` nor one of: {', '.join(sorted(words))}")
    if len(set(terms)) < len(terms):
        raise ValueError(f"{text!r} names a term twice")
    return AccessRule(terms)


def _term(text: str, module: str) -> str:
    """Return the term in the one form in which terms are compared."""
    if text == ACTIONS and module:
        return handlers_of(module)
    named = module_of(text)
    return handlers_of(named) if named else text


def uncovered(rule: AccessRule, by: AccessRule) -> tuple[str, ...]:
    """Return the terms of a rule that let somebody in whom the other rule may keep out."""
    if PUBLIC in by.terms:
        return ()
    known = AUTHENTICATED in by.terms
    return tuple(
        term
        for term in rule.terms
        if term not in by.terms and not (known and term not in {PUBLIC, ACTIONS} and not module_of(term))
    )


def parse_rate_limit(text: str, *, plain: str = "window") -> RateLimit:
    """Return the limit of ``30/minute``, ``5000/hour gcra`` or ``100/second burst 200``.

    :param plain: what a plain limit is: a ``window`` (exact, at most 1,000 a period), or a ``gcra`` as with the word or a burst.
    :raises ValueError: for any other form.
    """
    match = _RATE.fullmatch(text.strip())
    if text.strip().isdecimal():
        raise ValueError(f"{text!r} has no unit; write `{text.strip()}/minute`")
    if match is None or match["unit"] not in _PERIODS:
        raise ValueError(f"{text!r} is not a rate limit; write `30/minute` (second, minute, hour, day), with `burst N` if needed")
    limit, burst = int(match["limit"]), int(match["burst"] or 0)
    if not 0 < limit <= _LIMIT_MAXIMUM or (match["burst"] is not None and not 0 < burst <= _LIMIT_MAXIMUM):
        raise ValueError(f"{text!r}: the numbers must be between 1 and {_LIMIT_MAXIMUM}")
    period = _PERIODS[match["unit"]]
    if match["gcra"] or match["burst"] or plain == "gcra":
        if limit > period // _US:
            raise ValueError(f"{text!r}: at most one a microsecond")
        if (burst or limit) * -(-(period // _US) // limit) > LONGEST_BURST // _US:
            raise ValueError(f"{text!r}: its burst comes back in more than {LONGEST_BURST.days // 365} years")
        return RateLimit(limit, period, "gcra", burst, text)
    if limit > WINDOW_MAXIMUM:
        raise ValueError(f"{text!r}: an exact window counts at most {WINDOW_MAXIMUM}; write `{text} gcra` for more")
    return RateLimit(limit, period, "window", 0, text)


def parse_duration(text: str, *, longest: timedelta = _LONGEST) -> timedelta:
    """Return the duration of ``500ms``, ``5s``, ``1.5m``, ``1h`` or ``1d``; more than nothing, at most the longest.

    :raises ValueError: for any other form.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None and _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{text!r} has no unit; write `{text.strip()}s`")
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write `500ms`, `5s`, `2m` or `1h`")
    unit = _UNITS[match["unit"]]
    if float(match["number"]) > longest / unit:
        most = f"{longest // _UNITS['h']}h" if longest <= _LONGEST else f"{longest.days}d"
        raise ValueError(f"{text[:40]!r}: a duration is at most {most}")
    duration = float(match["number"]) * unit
    if duration <= timedelta(0):
        raise ValueError(f"{text!r}: a duration must be more than nothing")
    return duration
