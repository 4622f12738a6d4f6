"""Which rules count a request, and whom each of them counts: the one place that reads them, at every door alike."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import (
    ON_STORE_DOWN_CLOSED,
    ON_STORE_DOWN_LOCAL,
    ON_STORE_DOWN_OPEN,
    BanRule,
)
from stylobate.clients.limit_facts import Facts, joined, normal, value_of
from stylobate.clients.limit_groups import LevelSpec
from stylobate.clients.limits import EDGE_IP, EDGE_USER
from stylobate.declarations.limits_file import EDGE_KEY, HEADER, OF_AUTH, PERSONS, compiled
from stylobate.declarations.model import LimitRule, RateLimit
from stylobate.declarations.rules import parse_rate_limit
from stylobate.identity.client_address import client_address, limit_key
from stylobate.identity.networks import Networks
from stylobate.identity.principal import DEFAULT_TENANT

_DOWN = {"local": ON_STORE_DOWN_LOCAL, "open": ON_STORE_DOWN_OPEN, "closed": ON_STORE_DOWN_CLOSED}
_BUILT_IN = {"edge.ip": EDGE_IP[0], "edge.user": EDGE_USER[0]}
"""What holds where no file says these rules anew: numbers that the ratelimit service knows by name."""
_NO_LIMIT = RateLimit(1, timedelta(seconds=1))


class Charge(NamedTuple):
    """The levels of a check, with whom each counts."""

    levels: tuple[LevelSpec, ...]
    subjects: tuple[str, ...]


@lru_cache(maxsize=4096)
def key_level(text: str) -> LevelSpec:
    """Return the level of an API key's own limit. Raises ValueError: it is none."""
    limit = parse_rate_limit(text, plain="gcra")
    return LevelSpec.of_policy(EDGE_KEY, limit.limit, limit.period, algorithm=limit.algorithm, burst=limit.burst)


class LimitPlan:
    """Rules, ready for use. Immutable: changed rules are another plan."""

    def __init__(self, rules: Iterable[LimitRule] = ()) -> None:
        self.rules = tuple(rules)
        known = {rule.name for rule in self.rules}
        built_in = [_BuiltIn(name, spec) for name, spec in _BUILT_IN.items() if name not in known]
        self._rules: list[_Rule | _BuiltIn] = [*built_in, *(_Rule(rule) for rule in self.rules if rule.name not in OF_AUTH)]
        self._of_auth = {rule.name: _Rule(rule) for rule in self.rules if rule.name in OF_AUTH}
        self._of_actions = [rule for rule in self._rules if isinstance(rule, _Rule) and rule.is_of_action]
        self._of_doors = [rule for rule in self._rules if rule not in self._of_actions]
        self._at_anything = [rule.at_anything() for rule in self._rules]
        self.reads_headers = any(part.startswith(HEADER) for rule in self.rules for part in (*rule.per, *rule.match))
        self.is_plain = len(self._of_auth) == len(self.rules)
        """Whether there is nothing but the two built-in rules of the edge."""
        self._digests: Callable[[str], str] = lru_cache(maxsize=4096)(self._digest)

    def at_door(self, facts: Facts, *, is_address_charged: bool = False) -> Charge:
        """Return what a request is charged on as it comes in, but for the rules of actions.

        :param is_address_charged: whether :meth:`of_address` was charged before.
        """
        return _with_key(
            _charge([rule for rule in self._of_doors if not (is_address_charged and rule.is_of_address)], facts), facts
        )

    def of_caller(self, facts: Facts) -> Charge:
        """Return all that counts who asks, at whatever they ask for.

        Left out are rules that count by something else than who and where they are, such as each route apart.
        """
        return _with_key(_charge(self._at_anything, facts), facts)

    def of_address(self, address: str) -> Charge:
        """Return what is charged while nothing but the address of a request may be believed."""
        return _charge([rule for rule in self._of_doors if rule.is_of_address], Facts(address))

    def of_action(self, facts: Facts) -> Charge:
        """Return what a call of an action is charged on, beside the limit of its own."""
        return _charge(self._of_actions, facts)

    def of_auth(self, name: str) -> LevelSpec | None:
        """Return the level of one of the rules that auth charges; None: no file says it."""
        rule = self._of_auth.get(name)
        return None if rule is None else rule.level("", DEFAULT_TENANT, is_nameless=True)

    def digest(self, action: str) -> str:
        """Return what names the rules that a call of an action is charged on; empty: there is none.

        Two processes that return the same have the same rules.
        """
        return self._digests(action) if self._of_actions else ""

    def find(self, name: str, parts: Sequence[str], tenant: str) -> Charge:
        """Return the level of a rule for a subject that an operator names, one part for each ``per`` of the rule.

        :raises KeyError: no rule has the name. :raises ValueError: the rule counts by other parts.
        """
        rule = next((rule for rule in (*self._rules, *self._of_auth.values()) if rule.name == name), None)
        if rule is None:
            raise KeyError(name)
        if isinstance(rule, _BuiltIn):
            rule = _Rule(LimitRule(name, _NO_LIMIT, (name.removeprefix("edge."),)), rule.spec)
        spec, subject = rule.named(parts, tenant)
        return Charge((spec,), (subject,))

    def explain(self, facts: Facts) -> list[tuple[str, str, str]]:
        """Return each rule by name, the subject that it counts (empty: it does not count this), and why not."""
        return [(rule.name, *rule.explain(facts)) for rule in self._rules]

    def _digest(self, action: str) -> str:
        found = [repr(rule.rule) for rule in self._of_actions if rule.may_count(action)]
        return f"{crc32(''.join(found).encode()):08x}" if found else ""


class _BuiltIn:
    """One of the rules of the edge, as the ratelimit service's settings say it."""

    def __init__(self, name: str, spec: LevelSpec) -> None:
        self.name = name
        self.is_of_address = name == "edge.ip"
        self.spec = spec

    def at_anything(self) -> "_BuiltIn":
        return self

    def counts(self, facts: Facts) -> tuple[LevelSpec, str] | None:
        subject = self.explain(facts)[0]
        return (self.spec, subject) if subject else None

    def explain(self, facts: Facts) -> tuple[str, str]:
        if self.is_of_address:
            return (limit_key(facts.address), "") if facts.address else ("", "no address is known")
        return (facts.principal.id, "") if facts.principal.id else ("", "nobody is known by name")


class _Rule:
    """One rule, compiled.

    :param known: the level, where the ratelimit service knows it by name.
    """

    def __init__(self, rule: LimitRule, known: LevelSpec | None = None) -> None:
        self.rule = rule
        self._known = known
        self.name = rule.name
        parts = {*rule.per, *rule.match}
        self.is_of_action = "action" in parts
        self.is_of_address = parts == {"ip"}
        match = {key: [*map(normal, texts)] if key == "ip" else texts for key, texts in rule.match.items()}
        self._match = [(key, compiled(*texts)) for key, texts in match.items()]
        self._networks = Networks(match.get("ip", ()))
        self._overrides = {self._subject(text.split("|")): limit for text, limit in rule.overrides.items()}
        self._specs: dict[tuple[str, str, str], LevelSpec] = {}

    def at_anything(self) -> "_Rule":
        """Return the rule as if everything that its persons ask for fitted."""
        match = {key: texts for key, texts in self.rule.match.items() if key in PERSONS}
        return _Rule(replace(self.rule, match=match), self._known)

    def counts(self, facts: Facts) -> tuple[LevelSpec, str] | None:
        """Return the level that counts, and whom; None: it does not count this."""
        subject = self.explain(facts)[0]
        if not subject:
            return None
        return self.level(subject, facts.principal.tenant, is_nameless=facts.principal.is_anonymous), subject

    def named(self, parts: Sequence[str], tenant: str) -> tuple[LevelSpec, str]:
        """Return the level for a subject that is named, and its one spelling. Raises ValueError."""
        per = self.rule.per
        if len(parts) != len(per):
            raise ValueError(f"{self.name} counts by {', '.join(per)}")
        subject = self._subject(parts)
        return self.level(subject, tenant, is_nameless=bool(client_address(parts[0].removesuffix("/64")))), subject

    def level(self, subject: str, tenant: str, *, is_nameless: bool) -> LevelSpec:
        """Return the level that counts a subject.

        :param is_nameless: whether it is an address.
        """
        if self._known is not None:
            return self._known
        limit = self._overrides.get(subject, self.rule.limit)
        person = self.rule.per[0] if len(self.rule.per) == 1 else ""
        if person == "caller":
            person = "ip" if is_nameless else "user"
        key = limit.text, person, DEFAULT_TENANT if is_nameless or person == "ip" else tenant
        spec = self._specs.get(key)
        if spec is None:
            spec = self._specs[key] = _spec(self.rule, limit, *key[1:])
        return spec

    def explain(self, facts: Facts) -> tuple[str, str]:
        """Return whom it counts; or nothing, and why not."""
        for key, pattern in self._match:
            value = value_of(key, facts, is_counted=False)
            if not value or (pattern.fullmatch(value) is None and not (key == "ip" and self._networks.around(value))):
                return "", f"`match` asks for another {key}" if value else f"no {key} is known"
        values = [value_of(part, facts, is_counted=True) for part in self.rule.per]
        if not all(values):
            return "", f"no {self.rule.per[values.index('')]} is known"
        return joined(values), ""

    def _subject(self, parts: Sequence[str]) -> str:
        """Return a subject that somebody names, one part for each of ``per``, as it is counted."""
        pairs = zip(self.rule.per, parts, strict=True)
        return joined([normal(value) if part in {"ip", "caller"} else value for part, value in pairs])

    def may_count(self, action: str) -> bool:
        """Return whether it may count calls of an action."""
        return all(key != "action" or pattern.fullmatch(action) is not None for key, pattern in self._match)


def _with_key(charge: Charge, facts: Facts) -> Charge:
    """Return the charge with the limit that the caller's API key has of its own."""
    who = facts.principal
    return Charge((*charge.levels, key_level(who.rate_limit)), (*charge.subjects, who.token_id)) if who.rate_limit else charge


def _charge(rules: Iterable["_Rule | _BuiltIn"], facts: Facts) -> Charge:
    found = [counted for rule in rules if (counted := rule.counts(facts)) is not None]
    return Charge(tuple(spec for spec, _ in found), tuple(subject for _, subject in found))


def _spec(rule: LimitRule, limit: RateLimit, person: str, tenant: str) -> LevelSpec:
    spec = LevelSpec.of_policy(rule.name, limit.limit, limit.period, algorithm=limit.algorithm, burst=limit.burst, tenant=tenant)
    policy = spec.message.policy
    policy.cost = rule.cost
    policy.shadow = rule.is_shadow
    if rule.on_redis_down:
        policy.on_store_down = _DOWN[rule.on_redis_down]
    policy.counts = person if person in {"ip", "user", "api_key", "session", "tenant"} else ""
    if rule.ban is not None:
        policy.ban.CopyFrom(BanRule(after=rule.ban.after))
        policy.ban.within.FromTimedelta(rule.ban.within)
        policy.ban.first.FromTimedelta(rule.ban.first)
        policy.ban.ceiling.FromTimedelta(rule.ban.ceiling)
    return spec
