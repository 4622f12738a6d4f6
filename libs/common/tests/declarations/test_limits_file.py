"""limits.yaml: what can be said, and what is wrong with the rest."""

from datetime import timedelta
from pathlib import Path

import pytest
from stylobate.clients.limit_rules import LimitRules
from stylobate.declarations import load_declarations
from stylobate.declarations.document import parse_document
from stylobate.declarations.limits_file import read_limits
from stylobate.declarations.model import BanRule, Finding, LimitRule
from stylobate.declarations.report import FileReport

MINUTE = timedelta(minutes=1)


def _read(text: str, module: str = "") -> tuple[tuple[LimitRule, ...], list[str]]:
    findings: list[Finding] = []
    report = FileReport("limits.yaml", findings)
    node = parse_document(text.encode(), report)
    rules = read_limits(node, report, module) if node is not None else ()
    return rules, [str(finding) for finding in findings]


def test_a_rule_says_all_that_there_is_to_say() -> None:
    """Every key, and what each means."""
    rules, findings = _read("""
limits:
  shop.exports:
    limit: 100/second burst 200
    per: [user, route]
    match: { action: "shop.*", header:x-plan: [free, trial] }
    cost: 5
    shadow: true
    on_redis_down: closed
    overrides: { "01a2|GET /orders": 5/minute }
  site.user:
    limit: 10/minute
    per: user
    ban: { after: 3, within: 30s, for: 2m, ceiling: 1h }
""")
    assert findings == []
    first, second = rules
    assert (first.name, first.limit.burst, first.per, first.cost) == ("shop.exports", 200, ("user", "route"), 5)
    assert first.match == {"action": ("shop.*",), "header:x-plan": ("free", "trial")}
    assert (first.is_shadow, first.on_redis_down, first.overrides["01a2|GET /orders"].limit) == (True, "closed", 5)
    assert second.ban == BanRule(3, timedelta(seconds=30), 2 * MINUTE, timedelta(hours=1))


def test_what_is_left_out_has_a_sensible_meaning() -> None:
    """A rule counts callers; a ban follows five refusals within a minute; rules of the edge count what their names say."""
    rules, findings = _read("""
limits:
  shop.all: { limit: 10/minute, ban: {} }
  edge.ip: { limit: 2000/second }
  edge.user: { limit: 50/second }
""")
    assert findings == []
    assert [(rule.per, rule.limit.algorithm) for rule in rules] == [
        (("caller",), "window"),
        (("ip",), "gcra"),
        (("user",), "gcra"),
    ]
    assert rules[0].ban == BanRule(5, MINUTE, MINUTE, timedelta(days=1))


@pytest.mark.parametrize(
    ("rule", "finding"),
    [
        ("{}", "2: `limit` is missing in rule a.b"),
        ("{ limit: 10 }", "2: `limit`: 10 has no unit; write `10/minute` (rule a.b)"),
        ("{ limit: 2000/minute }", "2: `limit`: '2000/minute': an exact window counts at most 1000; write `2000/minute gcra`"),
        ("{ limit: 10/minute, pr: user }", "2: unknown key `pr` in rule a.b; did you mean `per`?"),
        ("{ limit: 10/minute, per: users }", "2: `per` of rule a.b: 'users' is not one of caller, ip, user,"),
        ("{ limit: 10/minute, per: 'header:X-Plan' }", "2: `per` of rule a.b: headers are named in lower case and hold for any;"),
        ("{ limit: 10/minute, match: { header:X-Plan: a } }", "2: `match` of rule a.b: headers are named in lower case"),
        ("{ limit: 10/minute, per: 'header:x-api-key' }", "2: `per` of rule a.b: header:x-api-key is a secret"),
        ("{ limit: 10/minute, per: [ip, 'header:authorization'] }", "2: `per` of rule a.b: header:authorization is a secret"),
        ("{ limit: 10/minute, per: [global, ip] }", "2: `global` stands alone"),
        ("{ limit: 10/minute, match: { rote: x } }", "2: unknown key `rote` in `match` of rule a.b; did you mean `route`?"),
        ("{ limit: 10/minute, match: { route: [] } }", "2: `route` of `match` of rule a.b names nothing"),
        ("{ limit: 10/minute, match: { route: /orders } }", "2: '/orders' fits no request: write `POST /orders`"),
        ("{ limit: 10/minute, match: { route: [GET /, get /] } }", "2: 'get /' fits no request"),
        ("{ limit: 10/minute, match: { route: HEAD /orders } }", "2: 'HEAD /orders' fits no request"),
        (
            "{ limit: 10/minute, per: channel, match: { action: x } }",
            "2: rule a.b counts nothing: no request has channel and action",
        ),
        ("{ limit: 10/minute, per: [session, api_key] }", "2: rule a.b counts nothing: no request has session and api_key"),
        ("{ limit: 10/minute, cost: 11 }", "2: a cost of 11 could never pass; the limit takes 10 at once"),
        ("{ limit: 10/minute, cost: 0 }", "2: `cost` must be a whole number from 1"),
        ("{ limit: 10/minute, shadow: maybe }", "2: `shadow` must be true or false"),
        ("{ limit: 10/minute, on_redis_down: shut }", "2: `on_redis_down` must be one of: local, open, closed"),
        ("{ limit: 10/minute, per: route, ban: {} }", "2: `ban` needs one of caller, ip,"),
        ("{ limit: 10/minute, per: [user, route], ban: {} }", "2: `ban` needs one of caller, ip,"),
        ("{ limit: 10/minute, ban: { after: 2000 } }", "2: `after` is at most 1000"),
        ("{ limit: 10/minute, ban: { for: 2h, ceiling: 1h } }", "2: `for` is longer than the `ceiling`"),
        ("{ limit: 10/minute, ban: { within: 30 } }", "2: `within`: 30 has no unit; write `30s`"),
        ("{ limit: 10/minute, overrides: { x: many } }", "2: `x`: 'many' is not a rate limit"),
        (
            "{ limit: 10/minute, overrides: { x: 5/minute }, per: [user, route] }",
            "2: 'x' must have a part for each of: user, route",
        ),
        ("{ limit: 10/minute, overrides: { 'x|y': 5/minute }, per: user }", "2: 'x|y' must have a part for each of: user"),
        ("{ limit: 10/minute, overrides: { 192.0.2.0/24: 5/minute }, per: ip }", "2: '192.0.2.0/24' is not an address"),
        ("{ limit: 10/minute, overrides: { 192.0.2.0/24: 5/minute } }", "2: '192.0.2.0/24' is not an address"),
        ("{ limit: 10/minute, match: { ip: 192.0.2.0/33 } }", "2: '192.0.2.0/33' is neither an address nor a network"),
        ("{ limit: 3000000/second gcra }", "2: `limit`: '3000000/second gcra': at most one a microsecond"),
    ],
)
def test_a_mistake_is_told_with_its_line(rule: str, finding: str) -> None:
    """One finding for one mistake."""
    _, findings = _read(f"limits:\n  a.b: {rule}\n")
    assert len(findings) == 1, findings
    assert findings[0].startswith(f"limits.yaml:{finding}")


def test_all_findings_come_at_once() -> None:
    """Of every rule."""
    _, findings = _read("limits:\n  A: { limit: 1/minute }\n  b: { limit: 1/eon }\n  c: 5\n")
    assert [finding.split(":")[1] for finding in findings] == ["2", "3", "4", "4"]


def test_a_module_speaks_for_itself_only() -> None:
    """Its rules bear its name and are about its own things: nobody limits the whole platform from a module."""
    _, findings = _read(
        "limits:\n  site.user: { limit: 1/minute, match: { action: x } }\n  shop.all: { limit: 1/minute }\n", "shop"
    )
    assert findings == [
        "limits.yaml:2: 'site.user' must be `shop.<name>`",
        "limits.yaml:3: rule shop.all would apply to every request; name `action`, `route` or `channel` in `match`",
    ]


def test_rules_of_auth_say_numbers_only() -> None:
    """Whom they count is auth's affair, and an account is never banned: strangers would ban it."""
    rules, findings = _read("limits:\n  login.ip: { limit: 30/minute, ban: {} }\n  login.account: { limit: 5/minute burst 10 }\n")
    assert findings == []
    assert [(rule.per, rule.limit.algorithm, rule.ban is None) for rule in rules] == [
        (("ip",), "gcra", False),
        (("ip",), "gcra", True),
    ]
    _, findings = _read("limits:\n  login.ip: { limit: 1/minute, per: user }\n  login.account: { limit: 1/minute, ban: {} }\n")
    assert findings == [
        "limits.yaml:2: unknown key `per` in rule login.ip",
        "limits.yaml:3: unknown key `ban` in rule login.account",
    ]


def test_the_platform_says_what_bans_leave_out(tmp_path: Path) -> None:
    """For all rules, those of modules and actions too; what a rule says itself holds; a module cannot say it for others."""
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "module.yaml").write_text("name: shop\n")
    (shop / "limits.yaml").write_text("limits:\n  shop.all: { limit: 1/minute, match: { action: '*' }, ban: { for: 2m } }\n")
    limit = "rate_limit: { limit: 1/minute, ban: {} }"
    (shop / "actions.yaml").write_text(f"actions:\n  shop.pay: {{ access: public, handler: pay, {limit} }}\n")
    platform = tmp_path / "platform.yaml"
    platform.write_text("bans: { after: 9, within: 10s, ceiling: 1h }\nlimits:\n  a: { limit: 1/minute, ban: { after: 3 } }\n")
    declarations = load_declarations(str(tmp_path))
    rules = LimitRules(declarations, platform)
    assert not rules.findings
    hour, ten = timedelta(hours=1), timedelta(seconds=10)
    assert {rule.name: rule.ban for rule in rules.plan.rules} == {
        "a": BanRule(3, ten, MINUTE, hour),
        "shop.all": BanRule(9, ten, 2 * MINUTE, hour),
        "shop.pay": BanRule(9, ten, MINUTE, hour),
    }
    platform.write_text("bans: { ceiling: 40s, for: 20s }\nlimits:\n  a: { limit: 1/minute, ban: { ceiling: 10s } }\n")
    rules.reload()
    found = {rule.name: rule.ban for rule in rules.plan.rules if rule.ban}
    assert not rules.findings
    assert [(ban.first, ban.ceiling) for ban in found.values()] == [(ten, ten), (2 * MINUTE, 2 * MINUTE), (2 * ten, 4 * ten)]
    platform.write_text("bans: { after: 0, ceiling: 10s }\n")
    rules.reload()
    assert [str(finding).removeprefix(f"{tmp_path}/") for finding in rules.findings] == [
        "platform.yaml:1: `after` must be a whole number from 1 (`bans` of limits.yaml)",
        "platform.yaml:1: `for` is longer than the `ceiling` (`bans` of limits.yaml)",
    ]
    assert _read("bans: {}\n", "shop")[1] == ["limits.yaml:1: unknown key `bans` in limits.yaml"]
