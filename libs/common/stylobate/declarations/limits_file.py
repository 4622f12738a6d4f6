"""limits.yaml: rules of who may do what how often. A module has one, and the platform may: the same keys in both."""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from stylobate.declarations.document import Node
from stylobate.declarations.model import BanRule, LimitRule, RateLimit
from stylobate.declarations.report import FileReport
from stylobate.declarations.rules import parse_duration, parse_rate_limit
from stylobate.declarations.section import Section
from stylobate.identity.networks import network_key

FILE = "limits.yaml"
KEYS = ("limits",)
PLATFORM_KEYS = ("limits", "bans")
RULE_KEYS = ("limit", "per", "match", "cost", "shadow", "on_redis_down", "ban", "overrides")
OF_ACTION_KEYS = tuple(key for key in RULE_KEYS if key != "match")
BAN_KEYS = ("after", "within", "for", "ceiling")
PERSONS = ("ip", "user", "api_key", "session", "tenant")
"""What a rule can count that can be banned."""
THINGS = ("route", "action", "channel")
PER = ("caller", *PERSONS, *THINGS, "global")
MATCH_KEYS = (*PERSONS, *THINGS)
HEADER = "header:"
ON_DOWN = ("local", "open", "closed")
EDGE = ("edge.ip", "edge.user")
"""Rules that stand without a file; the platform's file may say them anew."""
OF_AUTH = ("login.ip", "login.account", "register.ip", "refresh.ip", "mail.ip")
"""Rules that the auth service charges by itself, whichever way a call came; the platform's file may say these anew too."""
EDGE_KEY = "edge.key"
"""The limit that an API key has of its own."""
RESERVED = (*EDGE, *OF_AUTH, EDGE_KEY, "login.place", "login.session", "login.first", "login.again", "mail.account")
"""What the platform counts under names of its own; no module's rule or action has one of them."""
_OF_AUTH_KEYS = ("limit", "shadow", "ban")
MOST_REFUSALS = 1000
_NAME = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)*")
_ROUTE = re.compile(r"\*|(GET|POST|PUT|PATCH|DELETE|OPTIONS)( [/*]|\*)")
_SECRETS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
_HEADER = re.compile(r"header:[a-z][a-z0-9-]*")
BANS = BanRule(5, timedelta(minutes=1), timedelta(minutes=1), timedelta(days=1))
"""What a ban leaves out, where the platform's file does not say it."""
_MOST_CHARACTERS = 128


def compiled(*patterns: str) -> re.Pattern[str]:
    """Return what fits a text as a whole that one of the patterns fits; ``*`` stands for any text.

    Clients choose the texts, so it takes time in proportion to them: each piece is looked for once, where it comes first.
    """
    return re.compile("|".join(map(_one, patterns)), re.DOTALL)


def _one(pattern: str) -> str:
    begin, *pieces = map(re.escape, pattern.split("*"))
    if not pieces:
        return begin
    return begin + "".join(f"(?>.*?{piece})" for piece in pieces[:-1] if piece) + f".*{pieces[-1]}"


def is_impossible(parts: Iterable[str]) -> bool:
    """Return whether no request has all of these: messages have channels, HTTP requests the rest; sessions have no key."""
    asks = {HEADER if part.startswith(HEADER) else part for part in parts}
    return ("channel" in asks and not asks.isdisjoint(("route", "action", HEADER))) or {"session", "api_key"} <= asks


def read_limits(node: Node, file: FileReport, module: str = "") -> tuple[LimitRule, ...]:
    """Read the rules of a file; what is wrong stands in the report.

    :param module: whose file it is; empty: the platform's.
    """
    section = Section(node, file, FILE, KEYS if module else PLATFORM_KEYS)
    return tuple(_named(name, line, child, file, module) for name, line, child in section.entries("limits"))


def read_action_limit(node: Node, name: str, file: FileReport, line: int) -> LimitRule:
    """Read a ``rate_limit`` of an action that is a mapping with the keys of a rule. It counts each caller of this action."""
    section = Section(node, file, f"`rate_limit` of action {name}", OF_ACTION_KEYS)
    return _rule(name, section, file, line, match={"action": (name,)})


def _named(name: str, line: int, node: Node, file: FileReport, module: str) -> LimitRule:
    if not _NAME.fullmatch(name) or len(name) > _MOST_CHARACTERS:
        file.error(line, f"{name!r} is not a valid name of a rule; use lower case letters, digits, `_`, `-` and `.`")
    elif module and not name.startswith(f"{module}."):
        file.error(line, f"{name!r} must be `{module}.<name>`")
    elif name in (RESERVED if module else RESERVED[len(EDGE) + len(OF_AUTH) :]):
        file.error(line, f"{name!r} is a name that the platform itself counts by; choose another one")
    section = Section(node, file, f"rule {name}", RULE_KEYS)
    if name in OF_AUTH and not module:
        return _of_auth(name, line, node, file)
    is_edge = name in EDGE
    match = _match(section)
    rule = _rule(name, section, file, line, match=match, default=(name.removeprefix("edge."),) if is_edge else ("caller",))
    if module and not {"action", "channel", "route"}.intersection((*match, *rule.per)):
        file.error(line, f"{section.where} would apply to every request; name `action`, `route` or `channel` in `match`")
    return rule


def _match(section: Section) -> dict[str, tuple[str, ...]]:
    """Return the patterns of each key; those that could fit nothing are findings."""
    headers = [key for key in _keys(section, "match") if _HEADER.fullmatch(key.lower())]
    matches = section.section("match", [*headers, *MATCH_KEYS])
    match = {key: tuple(text for text, _ in matches.texts(key, or_one=True)) for key in _keys(section, "match")}
    for key in headers:
        if key != key.lower():
            matches.error(key, _in_lower_case(f"`match` of {section.where}", key))
    for text in match.get("ip", ()):
        if "*" not in text and not _is_address(text, also_networks=True):
            matches.error("ip", f"{text!r} is neither an address nor a network; `*` stands for any text")
    for text in match.get("route", ()):
        if not _ROUTE.match(text):
            matches.error("route", f"{text!r} fits no request: write `POST /orders`, `* /orders`, `GET /v1/state/*`; HEAD is GET")
    for key, line_of, _ in section.entries("match"):
        if key in matches and not match[key]:
            section.report.error(line_of, f"`{key}` of `match` of {section.where} names nothing")
    return match


def _of_auth(name: str, line: int, node: Node, file: FileReport) -> LimitRule:
    """Read a rule of auth. Whom it counts is its own affair, and an account is not banned: strangers would ban it."""
    keys = _OF_AUTH_KEYS if name.endswith(".ip") else _OF_AUTH_KEYS[:1]
    return _rule(name, Section(node, file, f"rule {name}", keys), file, line, match={}, default=("ip",))


def _keys(section: Section, key: str) -> list[str]:
    return [name for name, _, _ in section.entries(key)]


def _rule(
    name: str,
    section: Section,
    file: FileReport,
    line: int,
    *,
    match: dict[str, tuple[str, ...]],
    default: tuple[str, ...] = ("caller",),
) -> LimitRule:
    plain = "gcra" if name in (*EDGE, *OF_AUTH) else "window"
    limit = section.parsed("limit", lambda text: parse_rate_limit(text, plain=plain), required=True, unit="/minute")
    limit = limit or RateLimit(1, timedelta(seconds=1))
    per = _per(section) or default
    if is_impossible((*per, *match)):
        file.error(line, f"{section.where} counts nothing: no request has {' and '.join(dict.fromkeys((*per, *match)))}")
    ban, said = _ban(section, "ban") if "ban" in section else (None, frozenset[str]())
    if ban is not None and (len(per) != 1 or per[0] not in {*PERSONS, "caller"}):
        section.error("ban", f"`ban` needs one of caller, {', '.join(PERSONS)} alone in `per`: whom else should it keep out?")
    cost = section.positive("cost", 1)
    if cost > (limit.burst or limit.limit):
        section.error("cost", f"a cost of {cost} could never pass; the limit takes {limit.burst or limit.limit} at once")
    down = section.text("on_redis_down")
    if down and down not in ON_DOWN:
        section.error("on_redis_down", f"`on_redis_down` must be one of: {', '.join(ON_DOWN)}")
    return LimitRule(
        name=name,
        limit=limit,
        per=per,
        match=match,
        cost=cost,
        is_shadow=section.flag("shadow"),
        on_redis_down=down,
        ban=ban,
        said_of_ban=said,
        overrides=_overrides(section, plain, cost, per),
        file=file.file,
        line=line,
    )


def _per(section: Section) -> tuple[str, ...]:
    per = section.texts("per", or_one=True)
    for part, line in per:
        if part != part.lower() and _HEADER.fullmatch(part.lower()):
            section.report.error(line, _in_lower_case(f"`per` of {section.where}", part))
        elif part not in PER and not _HEADER.fullmatch(part):
            known: Collection[str] = (*PER, "header:<name>")
            section.report.error(line, f"`per` of {section.where}: {part!r} is not one of {', '.join(known)}")
        elif part.removeprefix(HEADER) in _SECRETS:
            section.report.error(
                line, f"`per` of {section.where}: {part} is a secret, and counters are named by it; count `user` or `api_key`"
            )
    names = tuple(part for part, _ in per)
    if "global" in names and len(names) > 1:
        section.error("per", "`global` stands alone: it counts everybody together")
    return names


def _in_lower_case(where: str, part: str) -> str:
    return f"{where}: headers are named in lower case and hold for any; write `{part.lower()}`"


def read_bans(node: Node, file: FileReport) -> BanRule:
    """Read what the platform's file says of bans that leave something out (``bans``), else the defaults."""
    if not isinstance(node.value, dict) or "bans" not in node.value:
        return BANS
    return _ban(Section(node, file, FILE, tuple(node.value)), "bans")[0]


def with_bans(rule: LimitRule, defaults: BanRule) -> LimitRule:
    """Return the rule with what its ban leaves out. What it says holds: a default that does not fit gives way."""
    if rule.ban is None:
        return rule
    ban = replace(defaults, **{name: getattr(rule.ban, name) for name in rule.said_of_ban})
    if ban.first > ban.ceiling:
        ban = replace(ban, ceiling=ban.first) if "first" in rule.said_of_ban else replace(ban, first=ban.ceiling)
    return replace(rule, ban=ban)


def _ban(section: Section, key: str) -> tuple[BanRule, frozenset[str]]:
    """Return the ban at the key, and which of its fields are said there."""
    ban = section.section(key, BAN_KEYS)
    after = ban.positive("after", BANS.after)
    if after > MOST_REFUSALS:
        ban.error("after", f"`after` is at most {MOST_REFUSALS}")
    times: dict[str, Any] = {
        name: time
        for name, said in (("within", "within"), ("first", "for"), ("ceiling", "ceiling"))
        if (time := ban.parsed(said, parse_duration, unit="s")) is not None
    }
    found = replace(BANS, after=min(after, MOST_REFUSALS), **times)
    if found.first > found.ceiling and (key == "bans" or times.keys() >= {"first", "ceiling"}):
        ban.error("for", "`for` is longer than the `ceiling`")
    return found, frozenset(times) | ({"after"} if "after" in ban else frozenset())


def _is_address(text: str, *, also_networks: bool = False) -> bool:
    try:
        key = network_key(text)
    except ValueError:
        return False
    return also_networks or "/" not in key or key.endswith("/64")


def _overrides(section: Section, plain: str, cost: int, per: tuple[str, ...]) -> dict[str, RateLimit]:
    found: dict[str, RateLimit] = {}
    names = [name for name, _, _ in section.entries("overrides")]
    overrides = section.section("overrides", names)
    for name in names:
        limit = overrides.parsed(name, lambda text: parse_rate_limit(text, plain=plain), required=True, unit="/minute")
        parts = name.split("|")
        if len(parts) != len(per):
            overrides.error(name, f"{name!r} must have a part for each of: {', '.join(per)} (`a|b`)")
        for part, text in zip(per, parts, strict=False):
            if (part == "ip" or (part == "caller" and "/" in text)) and not _is_address(text):
                overrides.error(name, f"{text!r} is not an address")
        if limit is not None:
            found[name] = limit
            if cost > (limit.burst or limit.limit):
                overrides.error(name, f"a cost of {cost} could never pass")
    return found
