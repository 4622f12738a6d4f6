"""Which rules count a request, and whom: read from one plan at every door."""

from dataclasses import replace
from typing import Any

import pytest
from stylobate.clients.limit_facts import Facts
from stylobate.clients.limit_plan import LimitPlan
from stylobate.declarations.limits_check import MAX_SUBJECT
from stylobate.declarations.model import BanRule, LimitRule, RateLimit
from stylobate.declarations.rules import parse_duration, parse_rate_limit
from stylobate.identity.principal import ANONYMOUS, Principal, PrincipalKind

ADA = Principal(PrincipalKind.USER, "ada", session="s1", token_id="t1")
TEN = parse_rate_limit("10/minute")


def _rule(name: str = "site.x", limit: RateLimit = TEN, per: tuple[str, ...] = ("caller",), **more: Any) -> LimitRule:
    return LimitRule(name, limit, per, **more)


def _found(charge: Any) -> dict[str, str]:
    return {level.name: subject for level, subject in zip(charge.levels, charge.subjects, strict=True)}


def test_without_rules_the_edge_alone_counts() -> None:
    """An address, and who is known by name."""
    plan = LimitPlan()
    assert plan.is_plain
    assert _found(plan.at_door(Facts("192.0.2.7", ADA))) == {"edge.ip": "192.0.2.7", "edge.user": "ada"}
    assert _found(plan.at_door(Facts("192.0.2.7"))) == {"edge.ip": "192.0.2.7"}
    assert _found(plan.at_door(Facts("192.0.2.7", ADA), is_address_charged=True)) == {"edge.user": "ada"}


def test_who_asks_is_shown_what_counts_them_at_anything() -> None:
    """What rules match of requests does not matter, of persons it does; what counts by requests cannot be told."""
    plan = LimitPlan(
        [
            _rule("site.pay", per=("user",), match={"action": ("shop.pay",)}),
            _rule("site.office", per=("user",), match={"ip": ("192.0.2.0/24",), "route": ("GET /x",)}),
            _rule("site.others", per=("user",), match={"ip": ("10.0.0.0/8",)}),
            _rule("site.routes", per=("user", "route")),
        ]
    )
    assert _found(plan.of_caller(Facts("192.0.2.7", ADA))).keys() == {"edge.ip", "edge.user", "site.pay", "site.office"}
    assert _found(plan.of_caller(Facts("192.0.2.7"))).keys() == {"edge.ip"}


def test_a_file_says_the_rules_of_the_edge_anew() -> None:
    """They are counted by what the file says, under their own names."""
    plan = LimitPlan([_rule("edge.ip", per=("ip",))])
    (level,) = plan.of_address("2001:db8:1:2::7").levels
    assert (level.name, level.message.policy.limit) == ("edge.ip", 10)
    assert plan.of_address("2001:db8:1:2::7").subjects == ("2001:db8:1:2::/64",)


@pytest.mark.parametrize(
    ("per", "named", "nameless"),
    [
        (("ip",), "192.0.2.7", "192.0.2.7"),
        (("user",), "ada", None),
        (("caller",), "ada", "192.0.2.7"),
        (("session",), "s1", None),
        (("tenant",), "default", None),
        (("api_key",), None, None),
        (("global",), "all", "all"),
        (("ip", "route"), "192.0.2.7\x1fGET /v1/state/orders", "192.0.2.7\x1fGET /v1/state/orders"),
        (("header:x-plan",), "free", "free"),
        (("channel",), None, None),
    ],
)
def test_each_part_counts_what_it_says(per: tuple[str, ...], named: str | None, nameless: str | None) -> None:
    """What a request has not is not counted."""
    plan = LimitPlan([_rule(per=per)])
    facts = Facts("192.0.2.7", ADA, "GET /v1/state/orders/7", "GET /v1/state/orders", headers={b"x-plan": b"free"})
    for principal, subject in ((ADA, named), (ANONYMOUS, nameless)):
        assert _found(plan.at_door(facts._replace(principal=principal))).get("site.x") == subject


def test_a_key_is_counted_by_itself_and_its_owner_as_a_user() -> None:
    """It has no session; and no token has a key's count, whatever its id."""
    plan = LimitPlan([_rule("site.key", per=("api_key",)), _rule("site.session", per=("session",))])
    key = Principal(PrincipalKind.USER, "ada", token_id="k1", is_key=True)
    assert _found(plan.at_door(Facts("192.0.2.7", key))) == {"edge.ip": "192.0.2.7", "edge.user": "ada", "site.key": "k1"}
    assert _found(plan.at_door(Facts("192.0.2.7", replace(key, is_key=False)))).keys() == {"edge.ip", "edge.user"}


@pytest.mark.parametrize(
    ("match", "counts"),
    [
        ({"route": ("GET /v1/state/*",)}, True),
        ({"route": ("POST /v1/state/*", "GET /v1/*")}, True),
        ({"route": ("/v1/state/*",)}, False),
        ({"route": ("* /v1/state/orders/7",)}, True),
        ({"user": ("ada",), "ip": ("192.0.2.7",)}, True),
        ({"user": ("ada",), "ip": ("192.0.2.8",)}, False),
        ({"ip": ("192.0.2.*",)}, True),
        ({"ip": ("10.0.0.0/8", "192.0.2.9/24")}, True),
        ({"ip": ("192.0.3.0/24", "2001:db8::/32")}, False),
        ({"channel": ("*",)}, False),
    ],
)
def test_a_rule_counts_what_it_matches(match: dict[str, tuple[str, ...]], counts: bool) -> None:
    """All keys must fit, of each any pattern; a point is a point."""
    plan = LimitPlan([_rule(match=match)])
    facts = Facts("192.0.2.7", ADA, "GET /v1/state/orders/7", "GET /v1/state/orders")
    assert ("site.x" in _found(plan.at_door(facts))) is counts


def test_an_address_is_matched_however_it_is_written() -> None:
    """Of IPv6 by its /64, and by any network that it lies in."""
    for text in ("2001:DB8:1:2:0::1", "2001:db8:1:2::/64", "2001:db8::/32"):
        plan = LimitPlan([_rule(match={"ip": (text,)})])
        assert [
            address for address in ("2001:db8:1:2::7", "2001:db9::7") if "site.x" in _found(plan.at_door(Facts(address)))
        ] == ["2001:db8:1:2::7"]


def test_rules_of_actions_wait_for_the_action() -> None:
    """They are charged with the call, wherever that is, and a digest says whether two processes have the same."""
    plan = LimitPlan([_rule("shop.all", match={"action": ("shop.*",)})])
    facts = Facts("192.0.2.7", ADA, action="shop.pay")
    assert "shop.all" not in _found(plan.at_door(facts))
    assert _found(plan.of_action(facts)) == {"shop.all": "ada"}
    assert _found(plan.of_action(facts._replace(action="news.pay"))) == {}
    assert plan.digest("shop.pay") == LimitPlan(plan.rules).digest("shop.pay") != ""
    assert plan.digest("news.pay") == LimitPlan().digest("shop.pay") == ""
    assert LimitPlan([_rule("shop.all", cost=2, match={"action": ("shop.*",)})]).digest("shop.pay") != plan.digest("shop.pay")


def test_single_subjects_have_limits_of_their_own() -> None:
    """An override is found however its address is written, and shares the name of the rule."""
    plan = LimitPlan([_rule(per=("ip",), overrides={"2001:db8:1:2::1": parse_rate_limit("99/minute")})])
    for address, limit in (("2001:db8:1:2::7", 99), ("2001:db8:1:3::7", 10)):
        (level,) = [level for level in plan.of_address(address).levels if level.name == "site.x"]
        assert level.message.policy.limit == limit


def test_subjects_of_several_parts_have_limits_of_their_own() -> None:
    """Each part is written as it is counted, an address however."""
    limits = {"2001:DB8:1:2::1|GET /": parse_rate_limit("99/minute")}
    plan = LimitPlan([_rule(per=("ip", "route"), overrides=limits)])
    for address, place, limit in (
        ("2001:db8:1:2::7", "GET /", 99),
        ("2001:db8:1:2::7", "GET /x", 10),
        ("192.0.2.1", "GET /", 10),
    ):
        level = plan.at_door(Facts(address, route=place, place=place)).levels[-1]
        assert level.message.policy.limit == limit


def test_what_clients_make_long_is_counted_all_the_same() -> None:
    """Within what a subject may have, apart from others, and the same as an operator names it."""
    plan = LimitPlan([_rule(per=("ip", "route"))])
    long = [f"GET /{'x' * 600}{end}" for end in "ab"]
    charges = [plan.at_door(Facts("192.0.2.7", route=text, place=text)) for text in long]
    subjects = {charge.subjects[-1] for charge in charges}
    assert len(subjects) == 2
    assert all(len(subject) <= MAX_SUBJECT for subject in subjects)
    assert plan.find("site.x", ["192.0.2.7", long[0]], "default").subjects == charges[0].subjects[-1:]


def test_a_long_header_is_looked_at_to_its_end() -> None:
    """What differs only there is counted apart, and a rule that asks for the end finds it: clients' tokens begin alike."""
    plan = LimitPlan([_rule(per=("header:x-client",), match={"header:x-client": ("*a", "*b")})])
    found = [plan.at_door(Facts("192.0.2.7", headers={b"x-client": b"x" * 4000 + end})) for end in (b"a", b"b", b"c")]
    assert len({charge.subjects[-1] for charge in found[:2]}) == 2
    assert ["site.x" in _found(charge) for charge in found] == [True, True, False]


def test_a_pattern_takes_no_more_time_than_the_text_is_long() -> None:
    """A search that backtracks takes far too long here."""
    plan = LimitPlan([_rule(match={"route": ("*a*a*a*a*a*a*a*a*b", "*a*a*a*a*a*a*a*a*c")})])
    facts = Facts("192.0.2.7", route="a" * 8000, place="GET /")
    assert "site.x" not in _found(plan.at_door(facts))
    assert "site.x" in _found(plan.at_door(facts._replace(route="a" * 8000 + "c")))


def test_a_level_carries_all_that_the_service_needs() -> None:
    """Cost, shadow, what holds without Redis, whom a ban is for; the same level is one object."""
    ban = BanRule(5, parse_duration("1m"), parse_duration("2m"), parse_duration("1h"))
    plan = LimitPlan([_rule(per=("caller",), cost=2, is_shadow=True, on_redis_down="closed", ban=ban)])
    for principal, counts in ((ADA, "user"), (ANONYMOUS, "ip")):
        level = plan.at_door(Facts("192.0.2.7", principal)).levels[-1]
        assert level is plan.at_door(Facts("192.0.2.7", principal)).levels[-1]
        policy = level.message.policy
        assert (policy.cost, policy.shadow, policy.counts, policy.ban.after) == (2, True, counts, 5)
        assert policy.ban.first.ToTimedelta() == parse_duration("2m")


def test_it_explains_itself() -> None:
    """Each rule says whom it counts, or why it does not."""
    plan = LimitPlan([_rule("site.post", match={"route": ("POST *",)}), _rule("site.session", per=("session",))])
    explained = plan.explain(Facts("192.0.2.7", ANONYMOUS, "GET /", "GET /"))
    assert explained == [
        ("edge.ip", "192.0.2.7", ""),
        ("edge.user", "", "nobody is known by name"),
        ("site.post", "", "`match` asks for another route"),
        ("site.session", "", "no session is known"),
    ]


def test_rules_of_auth_are_not_charged_at_doors() -> None:
    """Auth asks for their levels."""
    plan = LimitPlan([_rule("login.ip", per=("ip",))])
    assert plan.is_plain
    assert _found(plan.at_door(Facts("192.0.2.7"))) == _found(plan.of_address("192.0.2.7")) == {"edge.ip": "192.0.2.7"}
    level = plan.of_auth("login.ip")
    assert level is not None
    assert (level.message.policy.limit, level.message.policy.counts) == (10, "ip")
    assert plan.of_auth("register.ip") is None
