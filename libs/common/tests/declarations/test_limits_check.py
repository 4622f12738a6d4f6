"""Rules together: no request can ever be counted by more of them than a check takes."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stylobate.clients.limit_facts import Facts
from stylobate.clients.limit_plan import LimitPlan
from stylobate.clients.limit_rules import LimitRules, errors_of
from stylobate.declarations import load_declarations
from stylobate.declarations.limits_check import MAX_LEVELS, MAX_RULES, too_many
from stylobate.declarations.model import LimitRule
from stylobate.declarations.rules import parse_rate_limit
from stylobate.identity.principal import Principal, PrincipalKind

TEN = parse_rate_limit("10/minute")
TEXTS = ["".join(text) for length in range(1, 6) for text in product("ab", repeat=length)]
patterns = st.text("ab*", min_size=1, max_size=3)
matches = st.dictionaries(st.sampled_from(["user", "route"]), st.lists(patterns, min_size=1, max_size=2).map(tuple))


def _rules(*matches: Mapping[str, tuple[str, ...]]) -> list[LimitRule]:
    return [LimitRule(f"site.r{number}", TEN, ("ip",), match) for number, match in enumerate(matches)]


def _counted(plan: LimitPlan, user: str, route: str) -> int:
    return len(plan.at_door(Facts("192.0.2.7", Principal(PrincipalKind.USER, user), route, route)).levels)


@given(st.lists(matches, max_size=4))
@settings(max_examples=40, deadline=None)
def test_it_counts_as_the_plan_does(found: list[dict[str, tuple[str, ...]]]) -> None:
    """The largest number of rules that any request is charged on is the largest that the check allows, and no smaller."""
    rules = _rules(*found)
    plan = LimitPlan(rules)
    largest = max(_counted(plan, user, route) for user in TEXTS[::3] for route in TEXTS[::3])
    assert too_many(rules, largest - 1)
    everywhere = max(_counted(plan, user, route) for user in TEXTS for route in TEXTS) if too_many(rules, largest) else largest
    assert not too_many(rules, everywhere)


@pytest.mark.parametrize("part", ["user", "action", "route", "channel", "header:x-plan", "ip"])
def test_rules_about_different_things_are_any_number(part: str) -> None:
    """A hundred customers, routes or channels have a rule each: a request is counted by one of them."""
    apart = _rules(*({part: (f"x{number:02}*",)} for number in range(100)))
    assert not too_many(apart)
    everywhere = [LimitRule(f"site.all{number}", TEN, ("ip",)) for number in range(MAX_RULES - 3)]
    assert not too_many([*everywhere, *apart])
    more = LimitRule("site.more", TEN, ("ip",), {part: ("x07", "*y")})
    assert len(too_many([*everywhere, *apart, more])) == MAX_RULES + 1


def test_networks_are_apart_unless_one_lies_in_the_other() -> None:
    """Whichever way they are written."""
    apart = _rules(*({"ip": (f"10.{number}.0.0/16", f"2001:db8:{number}::/48")} for number in range(40)))
    assert not too_many(apart)
    for inside in ("10.7.1.0/24", "10.7.1.9", "2001:DB8:7:1::", "10.0.0.0/8"):
        same = [LimitRule(f"site.in{number}", TEN, ("ip",), {"ip": (inside,)}) for number in range(MAX_RULES - 2)]
        assert not too_many([*(apart[:7] if inside != "10.0.0.0/8" else ()), *same])
        assert len(too_many([*apart[:8], *same])) == MAX_RULES + 1


def test_what_no_request_has_both_of_is_not_counted_together() -> None:
    """Messages have channels, HTTP requests routes and headers; who has a session has no key."""
    ten = range(8)
    for one, other in (("channel", "action"), ("channel", "route"), ("channel", "header:x-a"), ("session", "api_key")):
        rules = [LimitRule(f"site.{part[:3]}{number}", TEN, (part,)) for part in (one, other) for number in ten]
        assert not too_many(rules)
    assert too_many([LimitRule(f"site.{part}{number}", TEN, (part,)) for part in ("user", "action") for number in ten])


def test_many_rules_that_overlap_anyhow_are_checked_in_no_time() -> None:
    """Exactly, as a look at every request there is shows. A search without a bound would not come to an end."""
    random = Random(7)
    keys, values = ("user", "route", "tenant", "action"), "abcdef"
    rules = _rules(*({key: tuple(random.sample(values, 2)) for key in random.sample(keys, 3)} for _ in range(80)))
    requests = [dict(zip(keys, request, strict=True)) for request in product(values, repeat=len(keys))]
    counted = [sum(all(request[key] in texts for key, texts in rule.match.items()) for rule in rules) for request in requests]
    largest = max(counted) + len(("edge.ip", "edge.user"))
    assert not too_many(rules, largest)
    assert len(too_many(rules, largest - 1)) == largest


def _module(folder: Path, name: str, limits: str, actions: str = "") -> Path:
    made = folder / name
    made.mkdir()
    (made / "module.yaml").write_text(f"name: {name}\n")
    (made / "module.py").write_text("from stylobate.modules import BaseModule\n\n\nclass Module(BaseModule):\n    pass\n")
    (made / "limits.yaml").write_text(limits)
    if actions:
        (made / "actions.yaml").write_text(actions)
    return made


def _everywhere(prefix: str, count: int) -> str:
    rules = "".join(f"  {prefix}.r{number}: {{ limit: 10/minute, match: {{ action: '*' }} }}\n" for number in range(count))
    return f"limits:\n{rules}"


def test_modules_that_count_too_much_together_are_told_where(tmp_path: Path) -> None:
    """The later one is left out; the platform's file is refused that adds to it, and so is a change of a module's file."""
    _module(tmp_path, "ants", _everywhere("ants", 6))
    bees = _module(tmp_path, "bees", _everywhere("bees", 7))
    (tmp_path / "platform.yaml").write_text("limits:\n  site.a: { limit: 1/minute }\n")
    declarations = load_declarations(str(tmp_path))
    assert [module.name for module in declarations.modules] == ["ants"]
    (finding,) = declarations.findings
    assert str(finding).startswith(
        f"{bees}/limits.yaml:8: one request could be counted by more than {MAX_RULES} rules: edge.ip, "
    )

    (bees / "limits.yaml").write_text(_everywhere("bees", 6))
    declarations = load_declarations(str(tmp_path))
    assert not declarations.findings
    rules = LimitRules(declarations)
    assert len(rules.plan.of_action(Facts("192.0.2.7", action="bees.x")).levels) + len(("ip", "user", "key")) == MAX_LEVELS - 1
    (finding,) = LimitRules(declarations, tmp_path / "platform.yaml").findings
    assert str(finding).startswith(f"{tmp_path}/platform.yaml:2: one request could be counted by more than {MAX_RULES} rules")

    before = rules.plan
    (bees / "limits.yaml").write_text(_everywhere("bees", 7))
    rules.reload()
    assert rules.plan is before
    assert [finding.line for finding in errors_of(rules.findings)] == [8]


def test_names_do_not_meet(tmp_path: Path) -> None:
    """Of the platform's own, of modules' rules and of actions each is counted apart."""
    action = "actions:\n  {0}: {{ access: public, handler: run, rate_limit: 1/minute }}\n".format
    _module(tmp_path, "edge", "limits:\n  edge.user: { limit: 1/minute, match: { action: x } }\n", action("edge.ip"))
    _module(tmp_path, "login", "limits:\n  login.again: { limit: 1/minute, match: { action: x } }\n")
    _module(tmp_path, "shop", "limits:\n  shop.pay: { limit: 1/minute, match: { action: x } }\n", action("shop.pay"))
    found = [str(finding).removeprefix(f"{tmp_path}/") for finding in load_declarations(str(tmp_path)).findings]
    assert found == [
        "edge/actions.yaml:2: 'edge.ip' is a name that the platform itself counts by; choose another one",
        "edge/limits.yaml:2: 'edge.user' is a name that the platform itself counts by; choose another one",
        "login/limits.yaml:2: 'login.again' is a name that the platform itself counts by; choose another one",
        "shop/limits.yaml:2: 'shop.pay' is the name of an action, whose own limit is counted by that name",
    ]

    (tmp_path / "shop" / "limits.yaml").write_text("limits:\n  shop.all: { limit: 1/minute, match: { action: x } }\n")
    platform = tmp_path / "platform.yaml"
    names = ("shop.all", "shop.later", "shop", "shopping.x", "global", "login.first")
    platform.write_text("limits:\n" + "".join(f"  {name}: {{ limit: 1/minute }}\n" for name in names))
    rules = LimitRules(load_declarations(str(tmp_path / "shop")), platform)
    assert [(finding.line, finding.message.partition(":")[0]) for finding in rules.findings] == [
        (7, "'login.first' is a name that the platform itself counts by; choose another one"),
        (2, "'shop.all'"),
        (3, "'shop.later'"),
    ]
